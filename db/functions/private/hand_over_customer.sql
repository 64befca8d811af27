-- An INSERT into legacy_customers saves: the user becomes known, and what is null stays as it is. All subscriptions,
-- unless one is named.
create or replace function billing_private.hand_over_customer(
    p_user_id         uuid,
    p_bought_credit   numeric,
    p_subscription_id text default null
)
returns bigint
language plpgsql
as $$
declare
    v_customer_id text := (select stripe_customer_id from billing.billing_customers where user_id = p_user_id);
    v_count       bigint;
begin
    insert into legacy_billing.legacy_customers (
        user_id, stripe_customer_id, stripe_subscription_id, subscription_status, price_id, tier, current_period_start,
        current_period_end, monthly_limit
    )
    select
        p_user_id, v_customer_id, s.stripe_subscription_id, s.status, s.stripe_price_id, t.name, s.current_period_start,
        s.current_period_end, t.monthly_credits
    from billing.billing_subscriptions s
    -- What the price pays for; the tier may be a higher one until the period ends.
    join billing.billing_tiers t on t.name = coalesce(s.next_tier, s.tier)
    left join billing.user_migrations m on m.user_id = s.user_id
    where s.user_id = p_user_id
        and (p_subscription_id is null or s.stripe_subscription_id = p_subscription_id)
        -- Of what was never heard of here, the old system knows as much, or more.
        and (s.synced_at > '-infinity' or coalesce(s.updated_at > m.migrated_at, true))
    order by s.created_at, s.stripe_subscription_id;
    get diagnostics v_count = row_count;
    insert into legacy_billing.legacy_customers (user_id, stripe_customer_id, bought_credit)
    values (p_user_id, v_customer_id, p_bought_credit);
    return v_count;
end
$$;

comment on function billing_private.hand_over_customer(uuid, numeric, text) is
    'Tells the old system how a user''s subscriptions and bought credit stand; returns how many subscriptions.';
revoke all on function billing_private.hand_over_customer(uuid, numeric, text) from public;
