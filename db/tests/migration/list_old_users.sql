-- The users of the old system, each once, in pages, and where each of them is by now.
\ir ../legacy.psql

select old_user(a()), old_user(a(), null, null, 'cus_a2'), old_user(b(), 'price_tier_2_20_monthly'), old_user(c()),
    old_user(d())
\g /dev/null
select billing.migrate_users(array[b(), c()]) \g /dev/null
select billing.rollback_users(array[c()]) \g /dev/null
select billing.open_account(e()) \g /dev/null
insert into billing.user_migrations (user_id) values (d());
select rows_are(
    'select * from billing.list_old_users()',
    $$
    values (a(), 'waiting', null::timestamptz, null::timestamptz), (b(), 'migrated', tap_now(), null),
        (c(), 'rolled_back', tap_now(), tap_now()), (d(), 'waiting', null, null)
    $$,
    'all of them; who was born here is not one'
);
select rows_are(
    format('select user_id from billing.list_old_users(%L)', status), format('select unnest(%L::uuid[])', wanted),
    'only those: ' || status
)
from (values ('waiting', array[a(), d()]), ('migrated', array[b()]), ('rolled_back', array[c()])) v (status, wanted);
select rows_are(
    'select user_id from billing.list_old_users(null, a(), 2)', 'values (b()), (c())', 'a page after a user'
);
select rows_are('select user_id from billing.list_old_users(null, c(), 2)', 'values (d())', 'the last one');
select rows_are(
    'select user_id from billing.list_old_users(''waiting'', a(), 1)', 'values (d())', 'a page of those who wait'
);
select rows_are('select user_id from billing.list_old_users(''waiting'', null, 1)', 'values (a())', 'and the first');
select is_empty('select user_id from billing.list_old_users(''migrated'', b())', 'after the last there is none');
select is_empty('select user_id from billing.list_old_users(''rolled_back'', c(), 500)', 'nor of those who went back');
select billing.rollback_users(array[e()]) \g /dev/null
select rows_are(
    'select user_id from billing.list_old_users(''rolled_back'')', 'values (c()), (e())',
    'who was handed to the old system is one of its users'
);
select throws_ok(
    'select * from billing.list_old_users(''new'')', 'UC400', 'invalid_request', 'the status must be one of them'
);
select throws_ok(
    format('select * from billing.list_old_users(p_limit => %s)', p_limit), 'UC422', 'limit_out_of_range',
    'no page of ' || p_limit
)
from unnest(array['0', '501', 'null']) p_limit;

select * from finish();
rollback;
