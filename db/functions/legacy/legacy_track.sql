-- In the old system a call is recorded whatever is left, because it was made. For a user who has left it, the account
-- pays, or refuses.
-- Locks:   the user's migration, then the account of a user who has left the old system, until commit.
-- Replay:  the same key with the same model and tokens tells the first call again, whichever system recorded it.
-- Answers: insufficient_credits, account_frozen, account_closed (of a user who has left): success = false.
-- Raises:  UC400 invalid_request, UC404 unknown_model, UC409 idempotency_key_reused, UC422 amount_too_large,
--          invalid_tokens.
create or replace function billing.legacy_track(
    p_user_id           uuid,
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint default 0,
    p_idempotency_key   text default null
)
returns billing.legacy_call
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_call      billing.legacy_call;
    v_price     record;
    v_deduction billing.token_deduction;
    v_state     billing.legacy_check;
    v_now       timestamptz;
begin
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key);
    if billing_private.tokens_problem(p_prompt_tokens, p_completion_tokens, p_cached_tokens) then
        perform billing_private.raise_error('invalid_tokens', 'A count is missing, negative or absurd.');
    end if;
    perform billing_private.lock_migration(p_user_id);
    v_call := billing_private.replay_legacy_call(
        p_user_id, p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens, p_idempotency_key
    );
    if v_call.success then
        return v_call;
    elsif billing_private.lives_here(p_user_id) then
        v_deduction := billing.deduct_tokens(
            p_user_id, p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens,
            p_idempotency_key => p_idempotency_key
        );
        v_state := billing_private.legacy_state(p_user_id);
        return (
            v_deduction.success, v_deduction.reason, v_deduction.cost, 0, v_state.monthly_usage, v_state.remaining,
            v_state.bought_credit, true, v_deduction.replayed
        )::billing.legacy_call;
    end if;
    v_now := billing_private.clock();
    v_price := billing_private.token_cost(p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens, v_now);
    if v_price.cost is null then
        perform billing_private.raise_error('unknown_model', format('Model %L has no price.', p_model));
    elsif v_price.cost > 1000000000000 then
        perform billing_private.raise_error('amount_too_large', format('The call costs %s.', v_price.cost));
    end if;
    return billing_private.record_old_call(
        p_user_id, p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens, v_price.cost, p_idempotency_key,
        v_now
    );
end
$$;

comment on function billing.legacy_track(uuid, text, bigint, bigint, bigint, text) is
    'Records a call of a user of the old system; for one who has left it, the account pays.';
revoke all on function billing.legacy_track(uuid, text, bigint, bigint, bigint, text) from public;
grant execute on function billing.legacy_track(uuid, text, bigint, bigint, bigint, text) to billing_api;
