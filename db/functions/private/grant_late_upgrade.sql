-- An upgrade that was paid for, and is heard of when its subscription has ended: its difference is granted all the same.
-- The caller has locked the account.
create or replace function billing_private.grant_late_upgrade(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_tier    text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_tier text := p_account.tier;
begin
    p_account := billing_private.settle_account(p_account, p_now);
    p_account := billing_private.move_to_tier(p_account, p_now, p_tier);
    return billing_private.move_to_tier(p_account, p_now, v_tier);
end
$$;

comment on function billing_private.grant_late_upgrade(billing.credit_accounts, timestamptz, text) is
    'Grants the difference of an upgrade to an account that is on another tier by now; returns the account.';
revoke all on function billing_private.grant_late_upgrade(billing.credit_accounts, timestamptz, text) from public;
