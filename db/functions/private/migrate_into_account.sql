-- An account that is there already gets the same entries, one by one: it may owe something, which they repay. One that
-- was closed by a rollback opens again. The caller has locked the account and caught it up.
create or replace function billing_private.migrate_into_account(
    p_account billing.credit_accounts,
    p_plan    billing_private.migration_plan,
    p_entries billing_private.migration_entry[],
    p_now     timestamptz
)
returns billing_private.migrated_account
language plpgsql
as $$
declare
    v_first bigint := p_account.entry_count + 1;
    v_entry billing_private.migration_entry;
begin
    if p_account.status = 'closed' then
        -- The months in between were the old system's.
        p_account.granted_through := p_plan.period;
        p_account.status := case
            when exists (select from billing.account_freezes where user_id = p_account.user_id) then 'frozen'
            else 'active'
        end;
        p_account.tier := p_plan.tier;
    elsif (select rank from billing.billing_tiers where name = p_plan.tier)
        > (select rank from billing.billing_tiers where name = p_account.tier)
    then
        p_account.tier := p_plan.tier;
    end if;
    if p_plan.paused then
        p_account.granted_through := least(
            p_account.granted_through, (p_plan.period - interval '1 month')::date
        );
    end if;
    foreach v_entry in array p_entries loop
        if v_entry.source = 'tier_grant' then
            p_account.last_grant_at := p_now;
        end if;
        p_account := billing_private.book_grant(
            p_account, p_now, 'migration', v_entry.source,
            array[(null, v_entry.amount, v_entry.priority, v_entry.expires_at, null)]::billing_private.lot[],
            'migrate_users', v_entry.idempotency_key, v_entry.reference_type, v_entry.reference_id,
            v_entry.description, v_entry.metadata
        );
    end loop;
    p_account.updated_at := p_now;
    perform billing_private.save_account(p_account);
    return (p_account.user_id, v_first, p_account.entry_count, p_account.balance)::billing_private.migrated_account;
end
$$;

comment on function billing_private.migrate_into_account is
    'Grants what a migration brings to an account that exists.';
revoke all on function billing_private.migrate_into_account from public;
