-- A status only moves forward: pending, succeeded, and failed, which may follow even days after success. A failure that
-- Stripe has not told is only our own view of it: what Stripe tells counts.
-- Locks:  the payment's id, the account, the refund, the payment, until commit.
-- Raises: UC400 invalid_request, UC409 payment_mismatch.
create or replace function billing_private.take_in_refund(p_refund jsonb, p_refund_id uuid default null)
returns uuid
language plpgsql
as $$
declare
    v_ranks constant text[] := array['requested', 'requires_action', 'pending', 'succeeded', 'canceled', 'failed'];
    v_status  text := coalesce(p_refund ->> 'status', 'pending');
    v_user_id uuid;
    v_account billing.credit_accounts;
    v_refund  billing.credit_refunds;
    v_now     timestamptz := billing_private.clock();
begin
    if p_refund ->> 'payment_intent' is null and p_refund_id is null then
        return null;
    end if;
    perform billing_private.check_stripe_object(p_refund, '{id}', '{amount}');
    perform billing_private.lock_intent(p_refund ->> 'payment_intent');
    v_user_id := billing_private.user_of_payment(p_refund ->> 'payment_intent');
    if v_user_id is not null then
        v_account := billing_private.lock_account(v_user_id, true);
        v_now := greatest(v_now, v_account.updated_at);
    end if;
    v_refund := billing_private.known_refund(
        p_refund, coalesce(p_refund_id, billing_private.as_uuid(p_refund #>> '{metadata,refund_id}')),
        p_refund_id is not null, v_now
    );
    if v_refund.refund_id <> p_refund_id then
        perform billing_private.raise_error('payment_mismatch', format(
            'Refund %s is %s here, not %s.', p_refund ->> 'id', v_refund.refund_id, p_refund_id
        ));
    end if;
    update billing.credit_refunds
    set status = v_status, stripe_refund_id = p_refund ->> 'id', updated_at = v_now,
        error = coalesce(p_refund ->> 'failure_reason', error)
    where refund_id = v_refund.refund_id
        and v_status = any (v_ranks)
        and (stripe_refund_id is null or array_position(v_ranks, v_status) >= array_position(v_ranks, status))
        and (status, stripe_refund_id) is distinct from (v_status, p_refund ->> 'id');
    if v_user_id is not null then
        v_account := billing_private.settle_account(v_account, v_now);
        perform billing_private.net_refund(v_account, v_now, v_refund.refund_id);
        perform billing_private.forward_to_old_system(v_user_id);
    end if;
    return v_refund.refund_id;
end
$$;

comment on function billing_private.take_in_refund(jsonb, uuid) is
    'Takes in a refund as Stripe tells it; returns its refund_id, null for one that is of no payment.';
revoke all on function billing_private.take_in_refund(jsonb, uuid) from public;
