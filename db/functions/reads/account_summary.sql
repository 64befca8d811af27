-- Costs the same on the largest account, however much it used: what was used since a time is a difference on the usage
-- axis, and only what is not usage is read. Negative adjustments move along the axis too, and are taken, not spent.
-- Usage that was reversed stays spent, as in billing.usage_by: granted_total has what the reversal gave back. At any
-- time balance = granted_total - spent_total - taken_total - expired_total - recovered_total.
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
    v_day     timestamptz := date_trunc('day', v_now, 'UTC');
    v_month   timestamptz := date_trunc('month', v_now, 'UTC');
    v_live    bigint;
    v_granted numeric;
    v_holds   bigint;
    v_gone    record;
begin
    select count(*) into v_live from billing.list_grants(p_user_id);
    select coalesce(sum(amount), 0) into v_granted from billing.credit_grants where user_id = p_user_id;
    select count(*) into v_holds
    from billing.credit_holds
    where user_id = p_user_id and status = 'active' and expires_at > v_now;
    select
        coalesce(-sum(amount) filter (where type = 'adjustment'), 0) as adjusted,
        coalesce(-sum(amount) filter (where type = 'adjustment' and created_at >= v_day), 0) as adjusted_today,
        coalesce(-sum(amount) filter (where type = 'adjustment' and created_at >= v_month), 0) as adjusted_this_month,
        coalesce(-sum(amount) filter (where type = 'rollback'), 0) as handed_over,
        coalesce(-sum(amount) filter (where type = 'expiry'), 0) as expired,
        coalesce(-sum(amount) filter (where type in ('clawback', 'debt_repayment')), 0) as recovered
    into v_gone
    from billing.credit_ledger
    where user_id = p_user_id
        and type in ('adjustment', 'rollback', 'expiry', 'clawback', 'debt_repayment')
        and amount < 0;
    return (
        p_user_id, v_account.tier, v_account.status, billing.get_user_role(p_user_id), v_account.balance,
        v_account.held, v_account.balance - v_account.held, v_account.debt, v_granted,
        v_account.used_total - v_gone.adjusted,
        v_account.used_total - billing_private.used_before(v_stored, v_day) - v_gone.adjusted_today,
        v_account.used_total - billing_private.used_before(v_stored, v_month) - v_gone.adjusted_this_month,
        v_live, v_holds, v_account.next_expiry_at, v_account.last_grant_at, v_account.entry_count,
        v_account.created_at, v_account.updated_at, v_gone.adjusted + v_gone.handed_over,
        -- What is due and not booked yet has expired too.
        v_gone.expired + v_stored.balance - v_account.balance, v_gone.recovered
    )::billing.account_summary;
end
$$;

comment on function billing.account_summary(uuid) is 'An account at a glance.';
revoke all on function billing.account_summary(uuid) from public;
grant execute on function billing.account_summary(uuid) to billing_api;
