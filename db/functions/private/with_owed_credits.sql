-- p_account is as if settled. What it has missed, less its debt: a deduction would be granted it first.
create or replace function billing_private.with_owed_credits(p_account billing.credit_accounts, p_at timestamptz)
returns billing.credit_accounts
language plpgsql
stable
as $$
declare
    v_period  date := billing_private.period_of(p_at);
    v_expires interval;
    v_owed    numeric;
begin
    if billing_private.owes_credits(p_account, p_at) and not billing_private.grants_paused(p_account.user_id) then
        select grant_expires_after into v_expires from billing.billing_tiers where name = p_account.tier;
        select coalesce(sum(greatest(0, billing_private.tier_amount(p_account.tier, m.period)
            - billing_private.tier_granted(p_account.user_id, m.period))), 0)
        into v_owed
        from (
            select p::date as period
            from generate_series(
                coalesce(
                    (p_account.granted_through + interval '1 month')::date,
                    billing_private.period_of(p_account.created_at)
                )::timestamp,
                v_period::timestamp, interval '1 month'
            ) p
        ) m
        where coalesce((m.period::timestamp + v_expires) at time zone 'UTC' > p_at, true);
        p_account.balance := p_account.balance + greatest(0, v_owed - p_account.debt);
    end if;
    return p_account;
end
$$;

comment on function billing_private.with_owed_credits(billing.credit_accounts, timestamptz) is
    'An account with the tier credits that it has not had yet.';
revoke all on function billing_private.with_owed_credits(billing.credit_accounts, timestamptz) from public;
