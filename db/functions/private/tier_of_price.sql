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
            substring(p_price ->> 'lookup_key' from '^credit_billing_(.+)_(?:month|year)$')
        )
    );
end
$$;

comment on function billing_private.tier_of_price(jsonb) is
    'The tier that a monthly or yearly price at Stripe pays for, by its metadata or its lookup_key; null: of none.';
revoke all on function billing_private.tier_of_price(jsonb) from public;
