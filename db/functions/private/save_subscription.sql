-- A lower tier counts from the next billing period on: what stands here until then is paid. An ended subscription never
-- comes back. Changes of interval begin a new period at once.
create or replace function billing_private.save_subscription(
    p_subscription jsonb,
    p_user_id      uuid,
    p_tier         text,
    p_seen_at      timestamptz,
    p_now          timestamptz
)
returns void
language plpgsql
as $$
declare
    v_item   jsonb := p_subscription #> '{items,data,0}';
    v_start  timestamptz := to_timestamp((v_item ->> 'current_period_start')::bigint);
    v_end    timestamptz := to_timestamp((v_item ->> 'current_period_end')::bigint);
    v_ends   boolean := coalesce((p_subscription ->> 'cancel_at_period_end')::boolean, false)
        or p_subscription ->> 'cancel_at' is not null;
    v_rank   integer := (select rank from billing.billing_tiers where name = p_tier);
    v_before billing.billing_subscriptions;
    v_keeps  boolean;
begin
    insert into billing.billing_subscriptions (
        stripe_subscription_id, user_id, tier, billing_interval, status, cancel_at_period_end, current_period_start,
        current_period_end, stripe_item_id, stripe_price_id, synced_at, created_at, updated_at
    )
    values (
        p_subscription ->> 'id', p_user_id, p_tier, v_item #>> '{price,recurring,interval}',
        p_subscription ->> 'status', v_ends, v_start, v_end, v_item ->> 'id', v_item #>> '{price,id}', p_seen_at,
        to_timestamp((p_subscription ->> 'created')::bigint), p_now
    )
    on conflict do nothing;
    select * into v_before
    from billing.billing_subscriptions
    where stripe_subscription_id = p_subscription ->> 'id'
    for no key update;
    v_keeps := v_before.status not in ('incomplete', 'canceled', 'incomplete_expired')
        and v_start <= v_before.current_period_start
        and v_rank < (select rank from billing.billing_tiers where name = v_before.tier);
    update billing.billing_subscriptions
    set tier = case when v_keeps then v_before.tier else p_tier end,
        next_tier = case when v_keeps then p_tier end,
        billing_interval = v_item #>> '{price,recurring,interval}',
        status = p_subscription ->> 'status',
        cancel_at_period_end = v_ends,
        current_period_start = v_start,
        current_period_end = v_end,
        stripe_item_id = v_item ->> 'id',
        stripe_price_id = v_item #>> '{price,id}',
        synced_at = p_seen_at,
        updated_at = p_now
    where stripe_subscription_id = p_subscription ->> 'id'
        and status not in ('canceled', 'incomplete_expired')
        and synced_at <= p_seen_at;
end
$$;

comment on function billing_private.save_subscription(jsonb, uuid, text, timestamptz, timestamptz) is
    'Records a subscription as it was at Stripe at a time, unless what stands here is newer.';
revoke all on function billing_private.save_subscription(jsonb, uuid, text, timestamptz, timestamptz) from public;
