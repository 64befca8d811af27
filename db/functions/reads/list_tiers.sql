create or replace function billing.list_tiers()
returns setof billing.tier
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return query
        select
            name, display_name, monthly_credits, price_cents, can_purchase_credits, rank, grant_expires_after,
            rollover_cap
        from billing.billing_tiers
        order by rank;
end
$$;

comment on function billing.list_tiers() is 'The subscription tiers, the smallest first.';
revoke all on function billing.list_tiers() from public;
grant execute on function billing.list_tiers() to billing_api;
