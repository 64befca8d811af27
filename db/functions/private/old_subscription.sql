-- Of several the one that counts: paid ones first, then the highest tier.
create or replace function billing_private.old_subscription(p_user_id uuid)
returns table (
    subscription_id text, tier text, status text, is_paid boolean, price_id text, period_start timestamptz,
    period_end timestamptz
)
language plpgsql
stable
as $$
begin
    return query
        select
            c.stripe_subscription_id, c.tier, c.subscription_status, c.subscription_status in ('active', 'trialing'),
            c.price_id, c.current_period_start, c.current_period_end
        from legacy_billing.legacy_customers c
        left join billing.billing_tiers t on t.name = c.tier
        where c.user_id = p_user_id
            and c.subscription_status in ('active', 'trialing', 'past_due', 'unpaid', 'paused')
        order by c.subscription_status not in ('active', 'trialing'), t.rank desc nulls last,
            c.stripe_customer_id is null, c.created_at desc, c.stripe_subscription_id
        limit 1;
end
$$;

comment on function billing_private.old_subscription(uuid) is 'The subscription of a user of the old system.';
revoke all on function billing_private.old_subscription(uuid) from public;
