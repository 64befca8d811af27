-- Whoever has calls or purchases in the old system, but no customer there, is in no other list: here they are named.
\ir ../legacy.psql

select old_user(a()), old_usage(a(), 1), old_usage(b(), 1), old_usage(b(), 2), old_usage(d(), 1),
    old_purchase(c(), 'p', 5, '2025-01-01 00:00+00', 'failed'), old_purchase(d(), 'q', 5, '2025-01-01 00:00+00')
\g /dev/null
select rows_are(
    'select * from billing.list_users_without_customer()',
    $$
    values (b(), 'no_customer', '2 calls, 0 purchases', 'not migrated'),
    (c(), 'no_customer', '0 calls, 1 purchases', 'not migrated'),
        (d(), 'no_customer', '1 calls, 1 purchases', 'not migrated')
    $$,
    'with what there is of them'
);
select rows_are(
    'select user_id from billing.list_users_without_customer(p_limit => 2)', 'values (b()), (c())', 'a page'
);
select rows_are(
    'select user_id from billing.list_users_without_customer(c(), 2)', 'values (d())', 'the next'
);
select is_empty('select user_id from billing.list_users_without_customer(d())', 'after the last there is none');
select is_empty('select user_id from billing.list_old_users(null, a())', 'nobody else lists them');
select is(moves(b()), 'refused unknown_user', 'nor moves them');
select old_user(b()), old_user(c()), old_user(d()) \g /dev/null
select is_empty('select * from billing.list_users_without_customer()', 'a customer is all that they lack');
select is(moves(b()), 'migrated free 2 0 2', 'then they can be moved');
select throws_ok(
    format('select * from billing.list_users_without_customer(p_limit => %s)', p_limit), 'UC422', 'limit_out_of_range',
    'no page of ' || p_limit
)
from unnest(array['0', '501', 'null']) p_limit;

select * from finish();
rollback;
