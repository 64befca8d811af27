create or replace function billing_private.as_granted_entry(
    p_entry    billing.credit_ledger,
    p_account  billing.credit_accounts,
    p_replayed boolean
)
returns billing.granted_entry
language sql
immutable
as $$
    select (
        p_entry.user_id, p_entry.entry_no, p_entry.type, p_entry.amount, p_entry.balance_after, p_entry.description,
        p_entry.reference_type, p_entry.reference_id, p_entry.idempotency_key, p_entry.metadata, p_entry.actor,
        p_entry.created_at, p_entry.grant_no, p_entry.reversed_entry_no, pg_catalog.encode(p_entry.entry_hash, 'hex'),
        p_account.balance - p_account.held, p_replayed
    )::billing.granted_entry
$$;

comment on function billing_private.as_granted_entry is
    'A grant''s entry as the SQL API tells it, with what the account can spend.';
revoke all on function billing_private.as_granted_entry from public;
