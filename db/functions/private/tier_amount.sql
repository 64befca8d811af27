create or replace function billing_private.tier_amount(p_tier text, p_period date)
returns numeric
language plpgsql
stable
as $$
begin
    return (
        select monthly_credits
        from billing.billing_tier_amounts
        where tier = p_tier and from_period <= p_period
        order by from_period desc
        limit 1
    );
end
$$;

comment on function billing_private.tier_amount(text, date) is 'What a tier grants in a period.';
revoke all on function billing_private.tier_amount(text, date) from public;
