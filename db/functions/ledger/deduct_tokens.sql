-- Cached tokens are a part of the prompt tokens. The cost is exact, rounded once, up, at the ninth place; the exact
-- cost, the token counts and the rates go into the entry's metadata. A call that costs nothing succeeds without an
-- entry. Locks, replay and answers as billing.deduct_credits; the key's request is the model, the counts and the
-- reference.
-- Raises:  as billing.deduct_credits, and UC404 unknown_model, UC422 invalid_tokens.
create or replace function billing.deduct_tokens(
    p_user_id           uuid,
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint default 0,
    p_reference_type    text default null,
    p_reference_id      text default null,
    p_idempotency_key   text default null,
    p_metadata          jsonb default null
)
returns billing.token_deduction
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_result billing.deduction;
    v_cost   numeric;
begin
    if p_model is null then
        perform billing_private.raise_error('invalid_request', 'p_model must be given.');
    end if;
    v_result := billing_private.deduct(
        true, 'deduct_tokens', p_user_id, null, p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens, null,
        p_reference_type, p_reference_id, p_idempotency_key, p_metadata
    );
    v_cost := v_result.amount;
    if not v_result.success then
        select (metadata -> 'asked')::numeric into v_cost
        from billing.credit_ledger
        where user_id = p_user_id and entry_no = v_result.entry_no;
    end if;
    return (
        v_result.success, v_result.entry_no, v_result.amount, v_result.balance_after, v_result.available,
        v_result.reason, v_result.replayed, v_cost
    )::billing.token_deduction;
end
$$;

comment on function billing.deduct_tokens is
    'Takes what a model call costs by the rate card from an account, or refuses and says why.';
revoke all on function billing.deduct_tokens from public;
grant execute on function billing.deduct_tokens to billing_api;
