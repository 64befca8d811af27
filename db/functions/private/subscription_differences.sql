-- Of what Stripe has told here since the migration, the old system need not know.
create or replace function billing_private.subscription_differences(p_user_ids uuid[])
returns setof billing.migration_difference
language plpgsql
stable
as $$
begin
    return query
        select
            c.user_id, case when s.user_id is null then 'subscription_missing' else 'subscription_differs' end,
            format('%s: %s at %s', c.stripe_subscription_id, c.subscription_status, c.price_id),
            case when s.user_id is null then 'none' else format('%s at %s', s.status, s.stripe_price_id) end
        from legacy_billing.legacy_customers c
        join billing.billing_tiers t on t.name = c.tier
        join billing.user_migrations m on m.user_id = c.user_id
        left join billing.billing_subscriptions s
            on s.stripe_subscription_id = c.stripe_subscription_id and s.user_id = c.user_id
        where c.user_id = any (p_user_ids)
            and num_nulls(c.stripe_subscription_id, c.subscription_status, c.price_id) = 0
            and (s.user_id is null or (s.synced_at = '-infinity' and s.updated_at <= m.migrated_at))
            and (c.subscription_status, c.price_id) is distinct from (s.status, s.stripe_price_id);
end
$$;

comment on function billing_private.subscription_differences(uuid[]) is
    'Subscriptions of migrated users that have changed in the old system, and nowhere else.';
revoke all on function billing_private.subscription_differences(uuid[]) from public;
