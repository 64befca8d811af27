-- What is planned is what a migration then does, for everybody, to the last decimal; planning changes nothing.
\ir ../legacy.psql

create function u(p_number integer) returns uuid immutable language sql as
    $$select ('00000000-0000-0000-0001-' || lpad(p_number::text, 12, '0'))::uuid$$;
create function all_of_them()
returns uuid[] language sql as $$select array(select u(n) from generate_series(1, 14) n) || nobody()$$;
-- Credit of somebody who is no customer.
alter table legacy_billing.bought_credit disable trigger bought_credit_customer;
select old_user(u(1)), old_usage(u(1), 1.000000001), old_user(u(2), 'price_tier_2_20_monthly'), old_usage(u(2), 30),
    old_user(u(3), 'price_tier_6_50_monthly', 'past_due'), old_usage(u(3), 2), old_credit(u(3), 1),
    old_user(u(4)), old_credit(u(4), 17.000000009), old_purchase(u(4), 'p1', 10, '2025-01-01 00:00+00'),
    old_purchase(u(4), 'p2', 3, '2025-01-02 00:00+00'), old_purchase(u(4), 'p3', 4, '2025-01-03 00:00+00', 'pending'),
    old_user(u(5), 'price_x'), old_user(u(6)), old_credit(u(6), -1), old_user(u(7)), old_user(u(8)),
    old_purchase(u(9), 'q', 5, '2025-01-01 00:00+00'), old_credit(u(9), 4),
    old_user(u(14), 'price_tier_200_1000_yearly', 'canceled'), old_usage(u(14), 0) \g /dev/null
select billing.open_account(u(9)), billing.open_account(u(10)), billing.open_account(u(11)), billing.open_account(u(12))
\g /dev/null
select old_user(u(9), 'price_tier_2_20_monthly'), old_user(u(10)), old_user(u(11), 'price_tier_12_100_monthly')
\g /dev/null
select billing.migrate_users(array[u(7), u(8)]) \g /dev/null
select billing.deduct_credits(u(8), 2.5) \g /dev/null
select billing.rollback_users(array[u(8)]) \g /dev/null
create temp table planned as select * from billing.plan_migration(all_of_them());
select is((select count(*) from planned), 15::bigint, 'one row for each');
select rows_are(
    'select outcome, problem, balance from planned where user_id in (u(10), u(12)) order by user_id',
    $$values ('planned', null, 5), ('refused', 'unknown_user', null)$$,
    'who has an account but no old one is a stranger'
);
select is(
    (
        select string_agg(n || ' ' || outcome, ', ' order by n)
        from (select outcome, count(*) as n from planned group by outcome) o
    ),
    '1 already_migrated, 5 refused, 9 planned', 'some can be moved, some not, one was'
);
select is(
    (select count(*) from billing.user_migrations where status = 'migrated' and user_id <> u(7))
    + (select count(*) from billing.credit_accounts where user_id in (u(1), u(2), u(3), u(4), u(14))), 0::bigint,
    'nothing has changed'
);
select rows_are(
    'select * from billing.plan_migration(all_of_them())', 'select * from planned', 'nor does it the second time'
);
create temp table done as select * from billing.migrate_users(all_of_them());
select rows_are(
    'select * from done',
    $$
    select user_id, case outcome when 'planned' then 'migrated' else outcome end, problem, detail, tier,
        subscription_status,
        usage_before, monthly_credits, tier_credits, bought_credit, purchases, balance
    from planned
    $$,
    'the migration tells the same of everyone'
);
select is_empty(
    $$
    select d.user_id from done d left join billing.credit_accounts a using (user_id)
    where d.outcome = 'migrated' and d.balance is distinct from a.balance
    $$,
    'the balances are those'
);
select is_empty('select * from billing.verify_ledger()', 'and verify');
select rows_are(
    'select distinct outcome from billing.plan_migration(array(select user_id from done where outcome = ''migrated''))',
    $$values ('already_migrated')$$, 'after it there is nothing to plan'
);
select throws_ok(
    'select billing.plan_migration(' || p_ids || ')', 'UC400', 'invalid_request', 'not for ' || left(p_ids, 40)
)
from unnest(array[
    'null', 'array[]::uuid[]', 'array[null]::uuid[]', 'array(select gen_random_uuid() from generate_series(1, 1001))'
]) p_ids;

select * from finish();
rollback;
