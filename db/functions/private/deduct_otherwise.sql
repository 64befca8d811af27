-- A replay comes before anything that could have changed since the first try: the balance, the rate card, the status.
-- p_amount is what the call costs by now; null when the model has no price.
create or replace function billing_private.deduct_otherwise(
    p_raise             boolean,
    p_operation         text,
    p_now               timestamptz,
    p_user_id           uuid,
    p_amount            numeric,
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint,
    p_description       text,
    p_reference_type    text,
    p_reference_id      text,
    p_idempotency_key   text,
    p_metadata          jsonb
)
returns billing.deduction
language plpgsql
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
    v_result  billing.deduction;
    v_refusal text;
begin
    if p_idempotency_key is not null then
        v_result := billing_private.replay_spend(
            p_raise, v_account, p_operation, p_idempotency_key, p_amount, p_model, p_prompt_tokens,
            p_completion_tokens, p_cached_tokens, p_reference_type, p_reference_id
        );
        if v_result.success is not null then
            return v_result;
        end if;
    end if;
    if p_amount is null then
        return billing_private.fail_spend(p_raise, 'unknown_model', format('Model %L has no price.', p_model));
    elsif p_amount > 1000000000000 then
        return billing_private.fail_spend(p_raise, 'amount_too_large', format('The call costs %s.', p_amount));
    end if;
    v_refusal := billing_private.spend_refusal(v_account, p_amount);
    -- Nobody is refused for credits that the month owes, and that the job has not come to yet.
    if v_refusal = 'insufficient_credits' then
        if billing_private.grant_if_due(p_user_id, billing_private.period_of(p_now)) then
            return billing_private.deduct(
                p_raise, p_operation, p_user_id, p_amount, p_model, p_prompt_tokens, p_completion_tokens,
                p_cached_tokens, p_description, p_reference_type, p_reference_id, p_idempotency_key, p_metadata
            );
        end if;
    end if;
    if v_refusal = 'account_closed' and billing_private.is_rolled_back(p_user_id) then
        return billing_private.fail_spend(
            p_raise, 'not_migrated', format('User %s was moved back to the old system.', p_user_id)
        );
    end if;
    if v_refusal is not null then
        v_account := billing_private.refuse_spend(
            v_account, p_now, v_refusal, p_amount, p_operation, p_idempotency_key, p_reference_type, p_reference_id,
            p_description, p_metadata
        );
    end if;
    -- What is left is a call that costs nothing.
    return (
        v_refusal is null, case when v_refusal is not null then v_account.entry_count end, 0, v_account.balance,
        v_account.balance - v_account.held, v_refusal, false
    )::billing.deduction;
end
$$;

comment on function billing_private.deduct_otherwise is
    'The deductions that take nothing (replay, error, refusal, free call) from a locked and settled account.';
revoke all on function billing_private.deduct_otherwise from public;
