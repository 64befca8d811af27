-- An upgrade that was paid for, and is heard of when its subscription has ended: its difference is granted all the
-- same, in the month of the end. The caller has locked the account.
create or replace function billing_private.grant_late_upgrade(
    p_account         billing.credit_accounts,
    p_now             timestamptz,
    p_tier            text,
    p_subscription_id text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_tier   text := p_account.tier;
    v_period date := (
        select billing_private.period_of(updated_at)
        from billing.billing_subscriptions
        where stripe_subscription_id = p_subscription_id
    );
begin
    p_account := billing_private.settle_account(p_account, p_now);
    p_account.tier := p_tier;
    p_account := billing_private.grant_tier_credits(p_account, p_now, v_period);
    p_account.tier := v_tier;
    perform billing_private.save_account(p_account);
    return p_account;
end
$$;

comment on function billing_private.grant_late_upgrade(billing.credit_accounts, timestamptz, text, text) is
    'Grants the difference of an upgrade to an account that is on another tier by now; returns the account.';
revoke all on function billing_private.grant_late_upgrade(billing.credit_accounts, timestamptz, text, text) from public;
