-- A charge tells how much of it was refunded; the refunds have events of their own. When the sum says that one is
-- missing, the payment is fetched with all of them.
create or replace function billing_private.missing_refunds(p_charge jsonb)
returns uuid
language plpgsql
as $$
declare
    v_intent_id text := p_charge ->> 'payment_intent';
    v_user_id   uuid := (
        select user_id from billing.billing_payments where payment_intent_id = p_charge ->> 'payment_intent'
    );
    v_known     bigint := (
        select coalesce(sum(amount_cents), 0)::bigint
        from billing.credit_refunds
        where payment_intent_id = p_charge ->> 'payment_intent' and stripe_refund_id is not null
            and status not in ('failed', 'canceled')
    );
begin
    if v_user_id is null or v_known >= (p_charge ->> 'amount_refunded')::bigint then
        return null;
    end if;
    return billing_private.queue_stripe_call(
        v_user_id, 'payment', v_intent_id, jsonb_build_object('payment_intent', v_intent_id), billing_private.clock()
    );
end
$$;

comment on function billing_private.missing_refunds(jsonb) is
    'Lets the refunds of a charge be fetched when not all of them are known; returns the call.';
revoke all on function billing_private.missing_refunds(jsonb) from public;
