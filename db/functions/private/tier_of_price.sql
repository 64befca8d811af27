create or replace function billing_private.tier_of_price(p_price jsonb)
returns text
language plpgsql
stable
as $$
begin
    return (
        select name
        from billing.billing_tiers
        where p_price #>> '{recurring,interval}' in ('month', 'year') and name = coalesce(
            p_price #>> '{metadata,tier}',
            substring(p_price ->> 'lookup_key' from '^credit_billing_(.+)_(?:month|year)$'),
            (select tier from billing.tier_prices where price_id = p_price ->> 'id')
        )
    );
end
$$;

comment on function billing_private.tier_of_price(jsonb) is
    'The tier that a monthly or yearly price at Stripe pays for, by its metadata, its lookup_key, or tier_prices.';
revoke all on function billing_private.tier_of_price(jsonb) from public;
