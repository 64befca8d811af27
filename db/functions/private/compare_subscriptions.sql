-- A subscription to something else than a tier, which did not begin here, is none of ours.
create or replace function billing_private.compare_subscriptions(p_objects jsonb)
returns setof billing.difference
language plpgsql
stable
as $$
begin
    return query
        with theirs as (
            select
                o ->> 'id' as id, billing_private.user_of_customer(o ->> 'customer') as user_id,
                o ->> 'status' as status, o #>> '{items,data,0,price,id}' as price_id,
                billing_private.tier_of_price(o #> '{items,data,0,price}') as tier,
                (o ->> 'cancel_at_period_end')::boolean or o ->> 'cancel_at' is not null as ends,
                to_timestamp((o #>> '{items,data,0,current_period_end}')::bigint) as period_end,
                o #> '{metadata,checkout_id}' is not null as begun_here
            from jsonb_array_elements(p_objects) o
            where o ->> 'object' = 'subscription'
        )
        select
            'subscription', t.id, t.user_id,
            case when s.user_id is null then 'subscription_not_booked' else 'subscription_differs' end,
            billing_private.subscription_text(
                s.status, s.stripe_price_id, s.cancel_at_period_end, s.current_period_end
            ),
            billing_private.subscription_text(t.status, t.price_id, t.ends, t.period_end),
            t.tier is not null and coalesce(s.status not in ('canceled', 'incomplete_expired'), true)
        from theirs t
        left join billing.billing_subscriptions s on s.stripe_subscription_id = t.id
        where t.user_id is not null
            and (t.tier is not null or t.begun_here or s.user_id is not null)
            and case
                -- What has ended does not come back, and what it was at the end is of no account.
                when s.status in ('canceled', 'incomplete_expired') then t.status <> s.status
                when s.user_id is null then t.status not in ('canceled', 'incomplete_expired')
                else (s.status, s.stripe_price_id, s.cancel_at_period_end, s.current_period_end)
                    is distinct from (t.status, t.price_id, t.ends, t.period_end)
            end;
end
$$;

comment on function billing_private.compare_subscriptions(jsonb) is
    'Subscriptions that Stripe and we tell differently.';
revoke all on function billing_private.compare_subscriptions(jsonb) from public;
