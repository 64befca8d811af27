-- Raises: UC403 purchase_not_allowed.
create or replace function billing_private.check_may_purchase(p_account billing.credit_accounts)
returns void
language plpgsql
stable
as $$
declare
    v_tier billing.billing_tiers;
begin
    select * into v_tier from billing.billing_tiers where name = p_account.tier;
    if p_account.status <> 'active' then
        perform billing_private.raise_error(
            'purchase_not_allowed', format('The account of user %s is %s.', p_account.user_id, p_account.status)
        );
    elsif not v_tier.can_purchase_credits then
        perform billing_private.raise_error(
            'purchase_not_allowed', format('Tier %s does not buy credits.', v_tier.display_name)
        );
    end if;
end
$$;

comment on function billing_private.check_may_purchase(billing.credit_accounts) is
    'Raises when an account may not buy credits.';
revoke all on function billing_private.check_may_purchase(billing.credit_accounts) from public;
