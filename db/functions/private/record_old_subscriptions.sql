-- As the old system knew them: what Stripe tells later counts more. Their prices mean a tier from here on.
-- A row without a status or a price tells of no subscription; a running one without a price is refused before.
create or replace function billing_private.record_old_subscriptions(p_user_ids uuid[], p_now timestamptz)
returns void
language plpgsql
as $$
begin
    insert into billing.tier_prices (price_id, tier)
    select distinct on (c.price_id) c.price_id, c.tier
    from legacy_billing.legacy_customers c
    join billing.billing_tiers t on t.name = c.tier
    where c.user_id = any (p_user_ids) and c.price_id is not null
    order by c.price_id, t.rank desc
    on conflict do nothing;
    -- Of a user who returns, the old system knew last.
    update billing.billing_subscriptions s
    set tier = c.tier, next_tier = null, status = c.subscription_status, stripe_price_id = c.price_id,
        current_period_start = coalesce(c.current_period_start, s.current_period_start),
        current_period_end = coalesce(c.current_period_end, s.current_period_end), synced_at = '-infinity',
        updated_at = p_now
    from legacy_billing.legacy_customers c
    join billing.user_migrations m on m.user_id = c.user_id and m.round > 1
    join billing.billing_tiers t on t.name = c.tier
    where c.user_id = any (p_user_ids)
        and s.user_id = c.user_id
        and s.stripe_subscription_id = c.stripe_subscription_id
        and num_nulls(c.subscription_status, c.price_id) = 0;
    insert into billing.billing_subscriptions (
        stripe_subscription_id, user_id, tier, billing_interval, status, current_period_start, current_period_end,
        stripe_price_id, synced_at, created_at, updated_at
    )
    select
        c.stripe_subscription_id, c.user_id, c.tier,
        case when c.current_period_end > v.period_start + interval '2 months' then 'year' else 'month' end,
        c.subscription_status, v.period_start, coalesce(c.current_period_end, v.period_start + interval '1 month'),
        c.price_id, '-infinity', coalesce(c.created_at, p_now), p_now
    from legacy_billing.legacy_customers c
    join billing.billing_tiers t on t.name = c.tier
    cross join lateral (
        select coalesce(c.current_period_start, c.created_at, p_now) as period_start
    ) v
    where c.user_id = any (p_user_ids)
        and num_nulls(c.stripe_subscription_id, c.subscription_status, c.price_id) = 0
    on conflict (stripe_subscription_id) do nothing;
    -- What Stripe has told of them while their users waited was passed over.
    insert into billing.stripe_calls (call_id, user_id, kind, subject_id, request, next_attempt_at, created_at)
    select
        billing_private.time_ordered_id(p_now), b.user_id, 'subscriptions', b.user_id::text, '{}',
        p_now + interval '30 seconds', p_now
    from billing.billing_customers b
    where b.user_id = any (p_user_ids)
        and b.stripe_customer_id is not null
        and exists (
            select from billing.billing_subscriptions s
            where s.user_id = b.user_id and s.status not in ('canceled', 'incomplete_expired')
        )
        and not exists (
            select from billing.stripe_calls c
            where c.kind = 'subscriptions' and c.subject_id = b.user_id::text and c.status = 'pending'
        );
end
$$;

comment on function billing_private.record_old_subscriptions(uuid[], timestamptz) is
    'Records the subscriptions that migrated users bring along, and the tiers that their prices pay for.';
revoke all on function billing_private.record_old_subscriptions(uuid[], timestamptz) from public;
