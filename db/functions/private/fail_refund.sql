-- Locks: the account, the refund, the payment, until commit.
create or replace function billing_private.fail_refund(p_refund_id uuid, p_error text)
returns void
language plpgsql
as $$
declare
    v_refund  billing.credit_refunds := billing_private.read_refund(p_refund_id);
    v_account billing.credit_accounts := billing_private.lock_account(v_refund.user_id, true);
    v_now     timestamptz := greatest(billing_private.clock(), v_account.updated_at);
begin
    update billing.credit_refunds
    set status = 'failed', error = left(p_error, 2000), updated_at = v_now
    where refund_id = p_refund_id and status = 'requested';
    if found then
        v_account := billing_private.settle_account(v_account, v_now);
        perform billing_private.net_refund(v_account, v_now, p_refund_id);
        perform billing_private.forward_to_old_system(v_refund.user_id);
    end if;
end
$$;

comment on function billing_private.fail_refund(uuid, text) is
    'Ends a refund that Stripe refused; the credits that it took are given back.';
revoke all on function billing_private.fail_refund(uuid, text) from public;
