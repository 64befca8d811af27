-- The customer is paid once: in credits, or in money (p_stripe_refund), or in both when p_grant_credits says so. Of a
-- payment that bought credits, money takes the same share of them back now, as far as they are left; what was spent
-- already is told, and becomes debt only with p_owe_spent. The answer's call_id is the refund at Stripe that is to be
-- made. If Stripe refuses it, what was taken comes back; credits that were granted beside the money stay. Credits count
-- in the admin's limits and daily total; money does not: the payment limits it, and approval_above.
-- Locks:   the account row, the payment, then the admin's row, until commit.
-- Replay:  the same key, admin, amount, mode and payment returns the first result with replayed = true and the status
--          of now; a refusal binds no key.
-- Answers: not_an_admin, refund_not_allowed, admin_limit_exceeded, approval_required, account_closed,
--          payment_not_found, payment_disputed, refund_exceeds_payment: success = false, nothing moves, and it is
--          logged.
-- Raises:  UC400 invalid_request, UC404 account_not_found, UC409 idempotency_key_reused, not_migrated,
--          UC422 amount_not_positive, amount_too_precise, amount_too_large, amount_not_whole_cents, reason_required.
create or replace function billing.request_refund(
    p_actor             uuid,
    p_user_id           uuid,
    p_amount            numeric,
    p_reason            text,
    p_stripe_refund     boolean default false,
    p_payment_intent_id text default null,
    p_grant_credits     boolean default false,
    p_owe_spent         boolean default false,
    p_idempotency_key   text default null
)
returns billing.refund_result
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    return billing_private.refund_by_admin(
        p_actor, p_user_id, p_amount, p_reason, p_stripe_refund, p_payment_intent_id, p_grant_credits, p_owe_spent,
        p_idempotency_key
    );
end
$$;

comment on function billing.request_refund is
    'Refunds a customer in credits, or in money through Stripe, within the admin''s rights.';
revoke all on function billing.request_refund from public;
grant execute on function billing.request_refund to billing_api;
