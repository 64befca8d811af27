create or replace function billing_private.as_ledger_entry(p_entry billing.credit_ledger)
returns billing.ledger_entry
language sql
immutable
as $$
    select (
        p_entry.user_id, p_entry.entry_no, p_entry.type, p_entry.amount, p_entry.balance_after, p_entry.description,
        p_entry.reference_type, p_entry.reference_id, p_entry.idempotency_key, p_entry.metadata, p_entry.actor,
        p_entry.created_at, p_entry.grant_no, p_entry.reversed_entry_no, pg_catalog.encode(p_entry.entry_hash, 'hex')
    )::billing.ledger_entry
$$;

comment on function billing_private.as_ledger_entry(billing.credit_ledger) is 'A ledger row as the SQL API tells it.';
revoke all on function billing_private.as_ledger_entry(billing.credit_ledger) from public;
