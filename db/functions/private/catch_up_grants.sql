-- Every period since the last one granted, in order, at the account's tier, unless its payment is overdue. Whoever
-- changes the tier calls this before. p_through is the last period that is granted; null: the current one. What is told of
-- the balance is where the months lead, not how they get there.
-- The caller has locked and settled the account; it is saved.
create or replace function billing_private.catch_up_grants(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_through date default null
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_armed   numeric := p_account.alert_below::numeric;
    v_through date := coalesce(p_through, billing_private.period_of(p_now));
    v_period  date := coalesce(
        (p_account.granted_through + interval '1 month')::date, billing_private.period_of(p_account.created_at)
    );
begin
    while v_period <= v_through and not billing_private.grants_paused(p_account.user_id) loop
        p_account.alert_below := null;
        p_account.granted_through := v_period;
        p_account := billing_private.grant_tier_credits(p_account, p_now, v_period);
        v_period := (v_period + interval '1 month')::date;
    end loop;
    p_account.alert_below := v_armed;
    p_account := billing_private.watch_balance(p_account, p_now, 'tier_grant');
    perform billing_private.save_account(p_account);
    return p_account;
end
$$;

comment on function billing_private.catch_up_grants(billing.credit_accounts, timestamptz, date) is
    'Makes the tier grants that an account has missed, up to a period; returns the account.';
revoke all on function billing_private.catch_up_grants(billing.credit_accounts, timestamptz, date) from public;
