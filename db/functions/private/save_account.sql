-- The caller holds the lock. Columns that no function changes after opening are left out; indexed ones only change
-- when the account's lots, holds, tier or grants do, so a deduction stays a heap-only update.
create or replace function billing_private.save_account(p_account billing.credit_accounts)
returns void
language plpgsql
as $$
begin
    update billing.credit_accounts
    set updated_at = p_account.updated_at,
        entry_count = p_account.entry_count,
        balance = p_account.balance,
        held = p_account.held,
        debt = p_account.debt,
        used_total = p_account.used_total,
        settled_total = p_account.settled_total,
        status = p_account.status,
        tier = p_account.tier,
        chain_head = p_account.chain_head,
        next_expiry_at = p_account.next_expiry_at,
        last_grant_at = p_account.last_grant_at,
        granted_through = p_account.granted_through,
        alert_below = p_account.alert_below
    where user_id = p_account.user_id;
end
$$;

comment on function billing_private.save_account(billing.credit_accounts) is 'Writes a locked account back.';
revoke all on function billing_private.save_account(billing.credit_accounts) from public;
