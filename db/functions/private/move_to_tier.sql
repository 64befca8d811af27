-- The caller has locked and settled the account.
create or replace function billing_private.move_to_tier(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_tier    text,
    p_actor   uuid default null
)
returns billing.credit_accounts
language plpgsql
as $$
begin
    p_account := billing_private.catch_up_grants(p_account, p_now);
    p_account.tier := p_tier;
    if not billing_private.grants_paused(p_account.user_id) then
        p_account := billing_private.grant_tier_credits(
            p_account, p_now, billing_private.period_of(p_now), p_actor
        );
    end if;
    p_account.updated_at := p_now;
    perform billing_private.save_account(p_account);
    return p_account;
end
$$;

comment on function billing_private.move_to_tier is
    'Grants what was missed at the old tier, sets the new one, and grants the difference of an upgrade.';
revoke all on function billing_private.move_to_tier from public;
