-- Looks again under the lock: somebody else may have been here. That last month's credits expire as this month's come
-- leaves nobody without: it is not told as a crossing.
-- Locks: the account, until commit.
create or replace function billing_private.grant_if_due(p_user_id uuid, p_through date)
returns boolean
language plpgsql
as $$
declare
    v_account billing.credit_accounts;
    v_now     timestamptz;
    v_armed   numeric;
begin
    select * into v_account from billing.credit_accounts where user_id = p_user_id for no key update;
    if v_account.status <> 'active'
        or coalesce(v_account.granted_through, '-infinity') >= p_through
        or billing_private.grants_paused(p_user_id)
    then
        return false;
    end if;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_armed := v_account.alert_below;
    v_account.alert_below := null;
    v_account := billing_private.settle_account(v_account, v_now);
    v_account.alert_below := v_armed;
    perform billing_private.catch_up_grants(v_account, v_now, p_through);
    return true;
end
$$;

comment on function billing_private.grant_if_due(uuid, date) is
    'Grants an account the tier credits that it has not had up to a period; whether it was due.';
revoke all on function billing_private.grant_if_due(uuid, date) from public;
