-- What is above the month's limit is paid from bought credit as far as it goes; the rest is let go. The caller has
-- locked the user's migration.
create or replace function billing_private.record_old_call(
    p_user_id           uuid,
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint,
    p_cost              numeric,
    p_idempotency_key   text,
    p_now               timestamptz
)
returns billing.legacy_call
language plpgsql
as $$
declare
    v_state billing.legacy_check;
    v_paid  numeric;
begin
    perform billing_private.know_old_user(p_user_id);
    v_state := billing_private.legacy_state(p_user_id);
    v_paid := least(greatest(0, p_cost - v_state.remaining), greatest(0, v_state.bought_credit));
    if v_paid > 0 then
        insert into legacy_billing.legacy_customers (user_id, bought_credit)
        values (p_user_id, v_state.bought_credit - v_paid);
    end if;
    insert into legacy_billing.legacy_usage (
        user_id, model, prompt_tokens, completion_tokens, cached_tokens, cost, paid_from_credit, request_key, created_at
    )
    values (
        p_user_id, p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens, p_cost, v_paid, p_idempotency_key,
        p_now
    );
    v_state := billing_private.legacy_state(p_user_id);
    return (
        true, null, p_cost, v_paid, v_state.monthly_usage, v_state.remaining, v_state.bought_credit, false, false
    )::billing.legacy_call;
end
$$;

comment on function billing_private.record_old_call is 'Records a call in the old system, and what it costs there.';
revoke all on function billing_private.record_old_call from public;
