-- The subscription that counts is told in the old terms, from the system that its user lives in.
\ir ../legacy.psql

create function told(p_user_id uuid) returns text language sql as $$
    select concat_ws(
        ' ', tier, status, price_id, stripe_subscription_id, current_period_start at time zone 'UTC',
        current_period_end at time zone 'UTC', trim_scale(monthly_limit), migrated
    )
    from billing.legacy_subscription(p_user_id)
$$;
select old_user(a(), 'price_tier_2_20_monthly'), old_user(b(), 'price_tier_2_20_monthly', 'past_due', 'cus_b'),
    old_user(b(), 'price_tier_6_50_monthly', 'canceled', 'cus_b'), old_user(c()),
    old_user(d(), 'price_tier_2_20_monthly', 'active', 'cus_d'),
    old_user(d(), 'price_tier_200_1000_monthly', 'unpaid', 'cus_d') \g /dev/null
create temp table before as
select u, told(u) as told
from unnest(array[a(), b(), c(), d()]) u;
grant select on before to billing_api;
set local role billing_api;
select is(
    told(a()), 'tier_2_20 active price_tier_2_20_monthly sub_0a 2025-03-05 00:00:00 2025-04-05 00:00:00 25 f',
    'one that is paid'
);
select is(
    told(b()), 'free past_due price_tier_2_20_monthly sub_0b 2025-03-05 00:00:00 2025-04-05 00:00:00 5 f',
    'one that is not pays for nothing, and is told before one that has ended'
);
select is(told(c()), 'free none 5 f', 'none');
select is(
    told(d()), 'tier_2_20 active price_tier_2_20_monthly sub_0d 2025-03-05 00:00:00 2025-04-05 00:00:00 25 f',
    'one that is paid counts more than a higher one that is not'
);
select is(told(nobody()), 'free none 5 f', 'a stranger has none');
select throws_ok('select billing.legacy_subscription(null)', 'UC400', 'invalid_request', 'a user must be given');
reset role;
select billing.migrate_users(array[a(), b(), c(), d()]) \g /dev/null
select is(
    told(u),
    case
        -- Here the tier is that of the subscription, and its credits wait.
        when u = b()
            then 'tier_2_20 past_due price_tier_2_20_monthly sub_0b 2025-03-05 00:00:00 2025-04-05 00:00:00 25 t'
        else regexp_replace(told, 'f$', 't')
    end,
    'here it is the same: ' || told
)
from before;
select billing.record_stripe_object(
    stripe_subscription('sub_0a', 'cus_0a', 'tier_6_50', 'trialing', '2025-03-10 00:00+00', '2025-04-10 00:00+00')
) \g /dev/null
select is(
    told(a()), 'tier_6_50 trialing price_tier_6_50_month sub_0a 2025-03-10 00:00:00 2025-04-10 00:00:00 55 t',
    'what Stripe tells later counts here'
);
select is(returns(a()), 'rolled_back 55 0 0 0 1', 'and goes back');
select is(
    told(a()), 'tier_6_50 trialing price_tier_6_50_month sub_0a 2025-03-10 00:00:00 2025-04-10 00:00:00 55 f',
    'with its price and its limit'
);
select is(
    (select tier || ' ' || monthly_limit from legacy_billing.plans where price_id = 'price_tier_6_50_month'),
    'tier_6_50 55.00',
    'which the old system learns'
);

select * from finish();
rollback;
