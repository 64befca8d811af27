-- For actions that may append no entry: their row of the admin log knows the key. p_details is what the request was.
-- The caller holds the lock under which such actions of that target follow each other.
-- Raises: UC409 idempotency_key_reused.
create or replace function billing_private.replay_action(
    p_action          text,
    p_actor           uuid,
    p_target          uuid,
    p_idempotency_key text,
    p_details         jsonb
)
returns billing.admin_result
language plpgsql
stable
as $$
declare
    v_done billing.admin_actions_log;
begin
    if p_idempotency_key is null then
        return null;
    end if;
    select * into v_done
    from billing.admin_actions_log
    where target_user_id = p_target
        and action = p_action
        and details ->> 'idempotency_key' = p_idempotency_key
        and outcome = 'done';
    if not found then
        return null;
    elsif (v_done.admin_user_id = p_actor and v_done.details @> p_details) is not true then
        perform billing_private.raise_error('idempotency_key_reused', format(
            'Key %L of user %s belongs to action %s.', p_idempotency_key, p_target, v_done.action_id
        ));
    end if;
    return (
        true, null, (v_done.details ->> 'entry_no')::bigint, coalesce(v_done.amount, 0),
        (v_done.details ->> 'balance_after')::numeric, v_done.action_id, true
    )::billing.admin_result;
end
$$;

comment on function billing_private.replay_action(text, uuid, uuid, text, jsonb) is
    'The result of the admin''s action that has the key, from the admin log; null when the key is new.';
revoke all on function billing_private.replay_action(text, uuid, uuid, text, jsonb) from public;
