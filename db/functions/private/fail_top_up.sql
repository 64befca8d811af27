-- Nobody is there to be asked, so one refusal is enough: it stays off until the user turns it on again, and even then
-- the same card is not charged before its time.
-- Locks: the account, which whoever changes the top-up locks too, until commit.
create or replace function billing_private.fail_top_up(
    p_purchase billing.credit_purchases,
    p_code     text,
    p_error    text
)
returns void
language plpgsql
as $$
declare
    v_account billing.credit_accounts := billing_private.lock_account(p_purchase.user_id, true);
    v_now     timestamptz := greatest(billing_private.clock(), v_account.updated_at);
begin
    update billing.credit_purchases
    set status = 'failed', error = left(p_error, 2000)
    where purchase_id = p_purchase.purchase_id and status in ('pending', 'open', 'processing');
    if found then
        update billing.billing_auto_top_ups
        set enabled = false, disabled_reason = p_code, failures = failures + 1, updated_at = v_now,
            retry_after = v_now + least(interval '1 hour' * (1 << least(failures, 8)), interval '7 days')
        where user_id = p_purchase.user_id;
        perform billing_private.emit_event(p_purchase.user_id, v_now, 'auto_top_up.failed', jsonb_build_object(
            'purchase_id', p_purchase.purchase_id, 'amount', trim_scale(p_purchase.amount),
            'price_cents', p_purchase.price_cents, 'code', p_code
        ));
    end if;
end
$$;

comment on function billing_private.fail_top_up(billing.credit_purchases, text, text) is
    'Ends an automatic top-up whose charge was refused, and turns it off.';
revoke all on function billing_private.fail_top_up(billing.credit_purchases, text, text) from public;
