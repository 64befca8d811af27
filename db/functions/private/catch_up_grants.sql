-- Every period since the last one granted, in order, at the account's tier, unless its payment is overdue. Whoever
-- changes the tier calls this before.
-- The caller has locked and settled the account; it saves it when nothing was granted.
create or replace function billing_private.catch_up_grants(p_account billing.credit_accounts, p_now timestamptz)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_current date := billing_private.period_of(p_now);
    v_period  date := coalesce(
        (p_account.granted_through + interval '1 month')::date, billing_private.period_of(p_account.created_at)
    );
begin
    while v_period <= v_current and not billing_private.grants_paused(p_account.user_id) loop
        p_account.granted_through := v_period;
        p_account := billing_private.grant_tier_credits(p_account, p_now, v_period);
        v_period := (v_period + interval '1 month')::date;
    end loop;
    perform billing_private.save_account(p_account);
    return p_account;
end
$$;

comment on function billing_private.catch_up_grants(billing.credit_accounts, timestamptz) is
    'Makes the tier grants that an account has missed, up to the current period; returns the account.';
revoke all on function billing_private.catch_up_grants(billing.credit_accounts, timestamptz) from public;
