create or replace function billing_private.raise_key_reused(p_entry billing.credit_ledger)
returns void
language plpgsql
immutable
as $$
begin
    perform billing_private.raise_error('idempotency_key_reused', format(
        'Key %L of user %s belongs to entry %s, which moved %s.',
        p_entry.idempotency_key, p_entry.user_id, p_entry.entry_no, p_entry.amount
    ));
end
$$;

comment on function billing_private.raise_key_reused(billing.credit_ledger) is
    'Raises UC409: the key of this entry came with another request.';
revoke all on function billing_private.raise_key_reused(billing.credit_ledger) from public;
