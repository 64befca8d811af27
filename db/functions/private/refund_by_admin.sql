-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 idempotency_key_reused, not_migrated,
--         UC422 amount_not_positive, amount_too_precise, amount_too_large, amount_not_whole_cents, reason_required.
create or replace function billing_private.refund_by_admin(
    p_actor             uuid,
    p_user_id           uuid,
    p_amount            numeric,
    p_reason            text,
    p_stripe_refund     boolean,
    p_payment_intent_id text,
    p_grant_credits     boolean,
    p_owe_spent         boolean,
    p_idempotency_key   text,
    p_consent           billing_private.consent default null
)
returns billing.refund_result
language plpgsql
as $$
declare
    v_mode    text := billing_private.refund_mode(p_stripe_refund, p_grant_credits);
    v_account billing.credit_accounts;
    v_refund  billing.credit_refunds;
    v_refusal text;
    v_now     timestamptz;
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
    v_refusal := coalesce(
        billing_private.authorize_refund(p_actor, p_user_id, p_amount, v_mode, v_now, p_consent), v_refusal
    );
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
    return billing_private.book_refund(v_account, v_refund, v_refusal, v_now, p_consent);
end
$$;

comment on function billing_private.refund_by_admin is
    'Refunds a customer, within the admin''s rights or with a second admin''s consent, and logs it.';
revoke all on function billing_private.refund_by_admin from public;
