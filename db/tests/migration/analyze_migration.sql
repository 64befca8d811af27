-- Everybody in the old system is counted in one group: by tier and state, and by what keeps some from migrating.
\ir ../legacy.psql

create function u(p_number integer) returns uuid immutable language sql as
    $$select ('00000000-0000-0000-0001-' || lpad(p_number::text, 12, '0'))::uuid$$;
select old_user(u(1)), old_usage(u(1), 1), old_user(u(2)), old_usage(u(2), 7),
    old_usage(u(2), 9, '2025-02-10 12:00+00'),
    old_credit(u(2), 3), old_purchase(u(2), 'p1', 5, '2025-01-01 00:00+00'),
    old_purchase(u(2), 'p2', 5, '2025-01-01 00:00+00', 'failed'),
    old_user(u(3), 'price_tier_2_20_monthly'), old_usage(u(3), 5),
    old_user(u(4), 'price_tier_2_20_monthly', 'past_due'),
    old_user(u(5), 'price_tier_200_1000_yearly'), old_user(u(6), 'price_x'), old_user(u(7)), old_credit(u(7), -2),
    old_user(u(8)), old_credit(u(8), -3), old_user(u(9), 'price_tier_2_20_monthly'), old_usage(u(9), 5),
    old_user(u(10)),
    old_user(u(1)), old_usage(u(20), 1), old_usage(u(20), 1), old_purchase(u(21), 'p3', 5, '2025-01-01 00:00+00')
\g /dev/null
select billing.migrate_users(array[u(9), u(10)]) \g /dev/null
select billing.deduct_credits(u(9), 4) \g /dev/null
select billing.deduct_credits(u(10), 1) \g /dev/null
select billing.rollback_users(array[u(10)]) \g /dev/null
create temp table groups as select * from billing.analyze_migration();
select rows_are(
    'select * from groups',
    $$
    values
        ('free', 'none', null, 'waiting', 2, 8, 4, 3, 2), ('tier_2_20', 'active', null, 'waiting', 1, 5, 20, 0, 0),
        ('tier_2_20', 'past_due', null, 'waiting', 1, 0, 0, 0, 0),
        ('tier_200_1000', 'active', null, 'waiting', 1, 0, 1005, 0, 0),
        ('free', 'none', 'negative_credit', 'waiting', 2, 0, 10, -5, 0),
        (null, null, 'no_customer', 'waiting', 2, null, null, null, null),
        (null, 'active', 'unknown_price', 'waiting', 1, 0, 0, 0, 0),
        ('tier_2_20', 'active', null, 'migrated', 1, 5, 20, 0, 0), ('free', 'none', null, 'rolled_back', 1, 1, 4, 0, 0)
    $$,
    'those who wait, by tier, then those who can''t be moved, then those who were'
);
select is(
    (select sum(users) from groups where problem is distinct from 'no_customer'),
    (select count(distinct user_id)::numeric from legacy_billing.customers), 'each user is counted once'
);
select is(
    (select sum(tier_credits) from groups where status = 'waiting' and problem is null),
    (select sum(tier_credits) from billing.plan_migration(array[u(1), u(2), u(3), u(4), u(5)])),
    'sums are those of the plans'
);
select rows_are('select * from billing.analyze_migration()', 'select * from groups', 'it changes nothing');
delete from legacy_billing.usage_records where user_id = u(20);
delete from legacy_billing.purchases where user_id = u(21);
select is_empty(
    'select from billing.analyze_migration() where problem = ''no_customer''', 'a group of nobody is not told'
);
-- More than a page.
insert into legacy_billing.customers (user_id) select u(n) from generate_series(1001, 2201) n;
select is(
    (select sum(users) from billing.analyze_migration() where status = 'waiting' and problem is null and tier = 'free'),
    1203::numeric,
    'all pages are added up'
);

select * from finish();
rollback;
