-- The customer is paid once: in credits, or in money (p_stripe_refund), or in both when p_grant_credits says so. Of a
-- payment that bought credits, money takes the same share of them back now, as far as they are left; what was spent
-- already is told, and becomes debt only with p_owe_spent. The answer's call_id is the refund at Stripe that is to be
-- made. If Stripe refuses it, what was taken comes back; credits that were granted beside the money stay. Credits count
-- in the admin's limits; money is limited by the payment.
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
declare
    v_mode      text := case
        when p_stripe_refund is not true then 'credits' when p_grant_credits then 'both' else 'money'
    end;
    v_account   billing.credit_accounts;
    v_refund    billing.credit_refunds;
    v_refusal   text;
    v_now       timestamptz;
begin
    perform billing_private.check_refund_request(
        p_actor, p_reason, p_amount, v_mode, p_payment_intent_id, p_idempotency_key
    );
    v_account := billing_private.lock_account(p_user_id);
    select * into v_refund
    from billing.credit_refunds
    where user_id = p_user_id and idempotency_key = p_idempotency_key;
    if found then
        return billing_private.replay_refund(
            v_refund, v_account, p_actor, p_amount, v_mode, p_payment_intent_id, p_owe_spent
        );
    end if;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_account := billing_private.settle_account(v_account, v_now);
    v_refusal := billing_private.refund_refusal(v_account, p_amount, v_mode, p_payment_intent_id);
    v_refusal := coalesce(billing_private.authorize_refund(p_actor, p_amount, v_mode, v_now), v_refusal);
    v_refund.refund_id := billing_private.time_ordered_id(v_now);
    v_refund.user_id := p_user_id;
    v_refund.mode := v_mode;
    v_refund.amount := p_amount;
    v_refund.amount_cents := case when v_mode <> 'credits' then (p_amount * 100)::bigint end;
    v_refund.payment_intent_id := case when v_mode <> 'credits' then p_payment_intent_id end;
    v_refund.owe_spent := coalesce(p_owe_spent, false) and v_mode <> 'credits';
    v_refund.requested_by := p_actor;
    v_refund.reason := p_reason;
    v_refund.idempotency_key := p_idempotency_key;
    v_refund.action_id := billing_private.time_ordered_id(v_now);
    return billing_private.book_refund(v_account, v_refund, v_refusal, v_now);
end
$$;

comment on function billing.request_refund is
    'Refunds a customer in credits, or in money through Stripe, within the admin''s rights.';
revoke all on function billing.request_refund from public;
grant execute on function billing.request_refund to billing_api;
