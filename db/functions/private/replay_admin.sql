-- Null amount: the request is told by something else (a reversal by its entry), which the caller compares.
-- Raises: UC409 idempotency_key_reused.
create or replace function billing_private.replay_admin(
    p_operation       text,
    p_actor           uuid,
    p_user_id         uuid,
    p_amount          numeric,
    p_expires_at      jsonb,
    p_idempotency_key text,
    p_reversed_entry_no bigint default null
)
returns billing.admin_result
language plpgsql
stable
as $$
declare
    v_entry billing.credit_ledger;
begin
    select * into v_entry
    from billing.credit_ledger
    where user_id = p_user_id and operation = p_operation and idempotency_key = p_idempotency_key;
    if not found then
        return null;
    elsif (v_entry.actor, v_entry.amount, v_entry.metadata -> 'expires_at', v_entry.reversed_entry_no)
        is distinct from (p_actor, coalesce(p_amount, v_entry.amount), p_expires_at, p_reversed_entry_no)
    then
        perform billing_private.raise_key_reused(v_entry);
    end if;
    return (
        true, null, v_entry.entry_no, v_entry.amount, v_entry.balance_after,
        (v_entry.metadata ->> 'action_id')::uuid, true
    )::billing.admin_result;
end
$$;

comment on function billing_private.replay_admin is
    'The result of the admin''s action that has the key; null when the key is new.';
revoke all on function billing_private.replay_admin from public;
