-- The one place where a balance moves: the account row and its ledger entry, together. The caller holds the lock.
-- p_used is how far the entry moves along the usage axis: what was burned in burn order, else 0.
create or replace function billing_private.append_entry(
    p_account           billing.credit_accounts,
    p_now               timestamptz,
    p_type              text,
    p_amount            numeric,
    p_used              numeric,
    p_operation         text,
    p_idempotency_key   text default null,
    p_reference_type    text default null,
    p_reference_id      text default null,
    p_description       text default null,
    p_metadata          jsonb default null,
    p_actor             uuid default null,
    p_grant_no          bigint default null,
    p_reversed_entry_no bigint default null
)
returns billing.credit_accounts
language plpgsql
as $$
begin
    p_metadata := billing_private.with_request(p_metadata);
    p_account.updated_at := p_now;
    p_account.entry_count := p_account.entry_count + 1;
    p_account.balance := p_account.balance + p_amount;
    p_account.used_total := p_account.used_total + p_used;
    p_account.chain_head := billing_private.entry_hash(
        p_account.chain_head, p_account.user_id, p_account.entry_count, p_now, p_type, p_amount, p_account.balance,
        p_account.used_total, p_operation, p_idempotency_key, p_reference_type, p_reference_id, p_description,
        p_metadata, p_actor, p_grant_no, p_reversed_entry_no
    );
    -- What ends with the month while the next one's credits are owed is told once these are there, if it is still so.
    if (p_amount > 0 or p_account.balance < p_account.alert_below)
        and not (p_type = 'expiry' and billing_private.owes_credits(p_account, p_now))
    then
        p_account := billing_private.watch_balance(p_account, p_now, p_type);
    end if;
    perform billing_private.save_account(p_account);
    insert into billing.credit_ledger (
        user_id, entry_no, created_at, type, amount, balance_after, used_after, operation, idempotency_key,
        reference_type, reference_id, description, metadata, actor, grant_no, reversed_entry_no, entry_hash
    )
    values (
        p_account.user_id, p_account.entry_count, p_now, p_type, p_amount, p_account.balance, p_account.used_total,
        p_operation, p_idempotency_key, p_reference_type, p_reference_id, p_description, p_metadata, p_actor,
        p_grant_no, p_reversed_entry_no, p_account.chain_head
    );
    return p_account;
end
$$;

comment on function billing_private.append_entry is
    'Appends a ledger entry to a locked account and returns the account after it.';
revoke all on function billing_private.append_entry from public;
