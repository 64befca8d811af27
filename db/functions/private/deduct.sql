-- The hot path: one locked row, one update, one insert. By amount, or by tokens when a model is given. It raises nothing,
-- so that a batch can go on: a reason with a detail is an error of the caller, a reason alone is an answer.
-- Locks:   the account row, until commit.
-- Replay:  the same key with the same amount (or model and tokens) and reference tells the first entry again.
create or replace function billing_private.deduct(
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
returns billing_private.outcome
language plpgsql
as $$
declare
    v_operation text := case when p_model is null then 'deduct_credits' else 'deduct_tokens' end;
    v_amount    numeric := p_amount;
    v_metadata  jsonb := p_metadata;
    v_outcome   billing_private.outcome;
    v_account   billing.credit_accounts;
    v_now       timestamptz;
    v_price     record;
begin
    if p_user_id is null then
        return billing_private.failed('invalid_request', 'p_user_id must be given.');
    elsif p_model is null and billing_private.amount_problem(p_amount) is not null then
        return billing_private.failed(
            billing_private.amount_problem(p_amount), format('p_amount is %s.', coalesce(p_amount::text, 'null'))
        );
    elsif p_model is not null and billing_private.tokens_problem(p_prompt_tokens, p_completion_tokens, p_cached_tokens) then
        return billing_private.failed('invalid_tokens', format(
            'Prompt %s, of which cached %s; completion %s.', p_prompt_tokens, p_cached_tokens, p_completion_tokens
        ));
    elsif billing_private.text_problem(p_description, p_reference_type, p_reference_id, p_idempotency_key, p_metadata)
        is not null
    then
        return billing_private.failed('invalid_request', billing_private.text_problem(
            p_description, p_reference_type, p_reference_id, p_idempotency_key, p_metadata
        ));
    end if;

    select * into v_account
    from billing.credit_accounts
    where user_id = p_user_id
    for no key update;
    if not found then
        return billing_private.failed('account_not_found', format('User %s has no account.', p_user_id));
    end if;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    if v_account.next_expiry_at <= v_now then
        v_account := billing_private.settle_account(v_account, v_now);
    end if;

    if p_idempotency_key is not null then
        v_outcome := billing_private.replay_spend(
            v_account, v_operation, p_idempotency_key, p_amount, p_model, p_prompt_tokens, p_completion_tokens,
            p_cached_tokens, p_reference_type, p_reference_id
        );
        if v_outcome.reason is not null or v_outcome.replayed then
            return v_outcome;
        end if;
    end if;

    if p_model is not null then
        v_price := billing_private.token_cost(
            p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens, v_now
        );
        v_amount := v_price.cost;
        v_metadata := coalesce(p_metadata, '{}') || v_price.basis;
        if v_amount is null then
            return billing_private.failed('unknown_model', format('Model %L has no price.', p_model));
        elsif v_amount > 1000000000000 then
            return billing_private.failed('amount_too_large', format('The call costs %s.', v_amount));
        end if;
    end if;

    v_outcome.reason := billing_private.spend_refusal(v_account, v_amount);
    if v_outcome.reason is not null then
        v_account := billing_private.refuse_spend(
            v_account, v_now, v_outcome.reason, v_amount, v_operation, p_idempotency_key, p_reference_type,
            p_reference_id, p_description, v_metadata
        );
        return (
            false, v_account.entry_count, 0, v_account.balance, v_account.balance - v_account.held,
            v_outcome.reason, false, v_amount, null
        )::billing_private.outcome;
    elsif v_amount = 0 then
        return (
            true, null, 0, v_account.balance, v_account.balance - v_account.held, null, false, 0, null
        )::billing_private.outcome;
    end if;
    v_account := billing_private.append_entry(
        v_account, v_now, 'usage', -v_amount, v_amount, v_operation, p_idempotency_key, p_reference_type,
        p_reference_id, p_description, v_metadata
    );
    return (
        true, v_account.entry_count, v_amount, v_account.balance, v_account.balance - v_account.held, null, false,
        v_amount, null
    )::billing_private.outcome;
end
$$;

comment on function billing_private.deduct is 'Deducts an amount, or the cost of a call, from an account.';
revoke all on function billing_private.deduct from public;
