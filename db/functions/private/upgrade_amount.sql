-- What the account is owed at its present tier does not count: it comes with the change, but not because of it.
create or replace function billing_private.upgrade_amount(
    p_account billing.credit_accounts,
    p_tier    text,
    p_period  date
)
returns numeric
language plpgsql
stable
as $$
begin
    return greatest(
        0,
        billing_private.tier_amount(p_tier, p_period) - greatest(
            billing_private.tier_granted(p_account.user_id, p_period),
            case
                when coalesce(p_account.granted_through < p_period, true)
                    then billing_private.tier_amount(p_account.tier, p_period)
            end,
            0
        )
    );
end
$$;

comment on function billing_private.upgrade_amount(billing.credit_accounts, text, date) is
    'What moving an account to a tier grants in a period, beyond what its present tier grants.';
revoke all on function billing_private.upgrade_amount(billing.credit_accounts, text, date) from public;
