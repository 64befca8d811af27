-- One row per user who is known to the old system. A user may be there twice, and may have several subscriptions: the
-- one that counts is found as subscription_standing does, paid ones first, then the highest tier.
create or replace function billing_private.old_standings(p_user_ids uuid[])
returns setof billing_private.old_standing
language plpgsql
stable
as $$
declare
    v_free numeric := (select monthly_credits from billing.billing_tiers where name = 'free');
begin
    return query
        with
        known as (
            select
                c.user_id, c.subscription_status, c.stripe_subscription_id, c.price_id, c.tier, c.bought_credit,
                c.monthly_limit, c.created_at, nullif(c.stripe_customer_id, '') as stripe_customer_id, t.rank,
                c.subscription_status in ('active', 'trialing', 'past_due', 'unpaid', 'paused') is true as is_live,
                c.subscription_status in ('active', 'trialing') is true as is_paid
            from legacy_billing.legacy_customers c
            left join billing.billing_tiers t on t.name = c.tier
            where c.user_id = any (p_user_ids)
        ),
        users as (
            select
                k.user_id, max(k.bought_credit) as bought_credit,
                coalesce(max(k.monthly_limit), v_free, 0) as monthly_limit,
                count(distinct k.bought_credit) > 1 or bool_or(k.bought_credit is null) as differs,
                count(distinct k.stripe_customer_id) filter (where k.is_live) > 1 as has_customers,
                string_agg(distinct coalesce(k.price_id, 'none'), ', ') filter (
                    where k.is_live and (k.rank is null or k.price_id is null or k.stripe_subscription_id is null)
                ) as unknown_prices,
                string_agg(distinct k.stripe_customer_id, ', ') filter (
                    where k.stripe_customer_id !~ '^\S{1,200}$'
                ) as invalid_customers
            from known k
            group by k.user_id
        ),
        shared as (
            select k.user_id,
                string_agg(distinct k.stripe_customer_id, ', ') filter (where o.is_customer) as customers,
                string_agg(distinct k.stripe_subscription_id, ', ') filter (where not o.is_customer) as subscriptions
            from known k
            join lateral (
                select true as is_customer
                from legacy_billing.legacy_customers c
                where c.stripe_customer_id = k.stripe_customer_id and c.user_id <> k.user_id
                union all
                select true
                from billing.billing_customers b
                where b.stripe_customer_id = k.stripe_customer_id and b.user_id <> k.user_id
                union all
                select false
                from billing.billing_subscriptions s
                where s.stripe_subscription_id = k.stripe_subscription_id and s.user_id <> k.user_id
                union all
                select false
                from legacy_billing.legacy_customers c
                where c.stripe_subscription_id = k.stripe_subscription_id and c.user_id <> k.user_id
            ) o on true
            group by k.user_id
        ),
        standing as (
            select distinct on (k.user_id) k.*
            from known k
            order by k.user_id, k.is_live desc, k.is_paid desc, k.rank desc nulls last,
                k.stripe_customer_id is null, k.created_at desc, k.stripe_subscription_id
        )
        select
            u.user_id, case when s.is_live then s.tier else 'free' end, s.is_live and not s.is_paid,
            s.subscription_status, s.stripe_customer_id, u.bought_credit, u.monthly_limit, p.problem, p.detail
        from users u
        join standing s on s.user_id = u.user_id
        left join shared o on o.user_id = u.user_id
        left join billing.billing_customers b on b.user_id = u.user_id
        left join billing.user_migrations m on m.user_id = u.user_id
        left join lateral (
            select *
            from (
                values
                    (
                        1, u.unknown_prices is not null, 'unknown_price',
                        format('No tier is known for price %s.', u.unknown_prices)
                    ),
                    (
                        2, u.invalid_customers is not null, 'invalid_customer',
                        format('%s is no customer at Stripe.', u.invalid_customers)
                    ),
                    (3, u.has_customers, 'several_customers', 'Subscriptions of more than one customer are running.'),
                    (
                        4, s.is_live and b.stripe_customer_id <> s.stripe_customer_id
                            and m.status is distinct from 'rolled_back',
                        'several_customers',
                        format('The account''s customer is %s, not %s.', b.stripe_customer_id, s.stripe_customer_id)
                    ),
                    (
                        5, o.customers is not null, 'shared_customer',
                        format('Customer %s is another user too.', o.customers)
                    ),
                    (
                        6, o.subscriptions is not null, 'shared_subscription',
                        format('Subscription %s is another user''s too.', o.subscriptions)
                    ),
                    (7, u.differs, 'credit_differs', 'Bought credit is missing, or differs from row to row.'),
                    (8, u.bought_credit < 0, 'negative_credit', format('Bought credit is %s.', u.bought_credit))
            ) rules (rank, is_broken, problem, detail)
            where is_broken
            order by rank
            limit 1
        ) p on true;
end
$$;

comment on function billing_private.old_standings(uuid[]) is
    'How users stand in the old system, and what is wrong with that.';
revoke all on function billing_private.old_standings(uuid[]) from public;
