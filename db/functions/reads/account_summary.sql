-- Costs the same on the largest account: what was spent since a time is a difference on the usage axis.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.account_summary(p_user_id uuid)
returns billing.account_summary
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_stored  billing.credit_accounts := billing_private.read_account(p_user_id);
    v_now     timestamptz := greatest(billing_private.clock(), v_stored.updated_at);
    v_account billing.credit_accounts := billing_private.settled_account(v_stored, v_now);
    v_live    bigint;
    v_granted numeric;
    v_holds   bigint;
begin
    select count(*) into v_live from billing.list_grants(p_user_id);
    select coalesce(sum(amount), 0) into v_granted from billing.credit_grants where user_id = p_user_id;
    select count(*) into v_holds
    from billing.credit_holds
    where user_id = p_user_id and status = 'active' and expires_at > v_now;
    return (
        p_user_id, v_account.tier, v_account.status, billing.get_user_role(p_user_id), v_account.balance,
        v_account.held, v_account.balance - v_account.held, v_account.debt, v_granted, v_account.used_total,
        v_account.used_total - billing_private.used_before(v_stored, date_trunc('day', v_now, 'UTC')),
        v_account.used_total - billing_private.used_before(v_stored, date_trunc('month', v_now, 'UTC')),
        v_live, v_holds, v_account.next_expiry_at, v_account.last_grant_at, v_account.entry_count,
        v_account.created_at, v_account.updated_at
    )::billing.account_summary;
end
$$;

comment on function billing.account_summary(uuid) is 'An account at a glance.';
revoke all on function billing.account_summary(uuid) from public;
grant execute on function billing.account_summary(uuid) to billing_api;
