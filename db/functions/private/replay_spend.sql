-- The same request is the same amount (or model and token counts) and reference, whatever the card says today.
create or replace function billing_private.replay_spend(
    p_raise             boolean,
    p_account           billing.credit_accounts,
    p_operation         text,
    p_idempotency_key   text,
    p_amount            numeric,
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint,
    p_reference_type    text,
    p_reference_id      text
)
returns billing.deduction
language plpgsql
stable
as $$
declare
    v_entry record;
begin
    select entry_no, amount, balance_after, reference_type, reference_id, metadata into v_entry
    from billing.credit_ledger
    where user_id = p_account.user_id and operation = p_operation and idempotency_key = p_idempotency_key;
    if not found then
        return null;
    elsif v_entry.reference_type is distinct from p_reference_type
        or v_entry.reference_id is distinct from p_reference_id
        or (p_model is null and v_entry.amount <> -p_amount)
        or (
            p_model is not null
            and (v_entry.metadata -> 'model', v_entry.metadata -> 'prompt_tokens',
                v_entry.metadata -> 'completion_tokens', v_entry.metadata -> 'cached_tokens')
            is distinct from (to_jsonb(p_model), to_jsonb(p_prompt_tokens), to_jsonb(p_completion_tokens),
                to_jsonb(p_cached_tokens))
        )
    then
        return billing_private.fail_spend(p_raise, 'idempotency_key_reused', format(
            'Key %L of user %s belongs to entry %s, which took %s.',
            p_idempotency_key, p_account.user_id, v_entry.entry_no, -v_entry.amount
        ));
    end if;
    return (
        true, v_entry.entry_no, -v_entry.amount, v_entry.balance_after, p_account.balance - p_account.held, null, true
    )::billing.deduction;
end
$$;

comment on function billing_private.replay_spend is
    'The result of the deduction that has the key; null when the key is new.';
revoke all on function billing_private.replay_spend from public;
