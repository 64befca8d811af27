-- A key that the old system has recorded stands for that call in whatever system the user lives in by now.
-- Raises: UC409 idempotency_key_reused.
create or replace function billing_private.replay_legacy_call(
    p_user_id           uuid,
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint,
    p_idempotency_key   text
)
returns billing.legacy_call
language plpgsql
stable
as $$
declare
    v_call  record;
    v_state billing.legacy_check;
begin
    select model, prompt_tokens, completion_tokens, cached_tokens, cost, paid_from_credit into v_call
    from legacy_billing.legacy_usage
    where user_id = p_user_id and request_key = p_idempotency_key;
    if not found then
        return null;
    elsif (v_call.model, v_call.prompt_tokens, v_call.completion_tokens, v_call.cached_tokens)
        is distinct from (p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens)
    then
        perform billing_private.raise_error('idempotency_key_reused', format(
            'Key %L of user %s belongs to another call.', p_idempotency_key, p_user_id
        ));
    end if;
    v_state := billing_private.legacy_state(p_user_id);
    return (
        true, null, v_call.cost, v_call.paid_from_credit, v_state.monthly_usage, v_state.remaining,
        v_state.bought_credit, v_state.migrated, true
    )::billing.legacy_call;
end
$$;

comment on function billing_private.replay_legacy_call is
    'A call that the old system recorded under a key; null: none.';
revoke all on function billing_private.replay_legacy_call from public;
