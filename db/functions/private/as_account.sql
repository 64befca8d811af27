create or replace function billing_private.as_account(p_account billing.credit_accounts)
returns billing.account
language sql
immutable
as $$
    select (
        p_account.user_id, p_account.tier, p_account.status, p_account.balance, p_account.held,
        p_account.balance - p_account.held, p_account.debt, p_account.used_total, p_account.entry_count,
        p_account.next_expiry_at, p_account.last_grant_at, p_account.created_at, p_account.updated_at
    )::billing.account
$$;

comment on function billing_private.as_account(billing.credit_accounts) is 'An account row as the SQL API tells it.';
revoke all on function billing_private.as_account(billing.credit_accounts) from public;
