-- A year is paid as twelve months, unless the price that stands under the lookup_key at Stripe says otherwise.
-- Raises: UC404 unknown_tier, UC422 tier_not_for_sale.
create or replace function billing_private.request_price(p_tier text, p_interval text)
returns jsonb
language plpgsql
stable
as $$
declare
    v_tier billing.billing_tiers;
begin
    select * into v_tier from billing.billing_tiers where name = p_tier;
    if not found then
        perform billing_private.raise_error('unknown_tier', format('There is no tier %L.', p_tier));
    elsif v_tier.price_cents = 0 then
        perform billing_private.raise_error('tier_not_for_sale', format('Tier %s costs nothing.', v_tier.display_name));
    end if;
    return jsonb_build_object(
        'tier', p_tier, 'interval', p_interval, 'name', v_tier.display_name,
        'unit_cents', v_tier.price_cents * case p_interval when 'year' then 12 else 1 end,
        'lookup_key', format('credit_billing_%s_%s', p_tier, p_interval)
    );
end
$$;

comment on function billing_private.request_price(text, text) is 'What Stripe is to charge for a tier.';
revoke all on function billing_private.request_price(text, text) from public;
