-- Everybody whose credits are here, in pages: who was migrated, and who was born here.
\ir ../legacy.psql

select old_user(a()), old_user(b()), old_user(c()) \g /dev/null
select billing.migrate_users(array[a(), b()]) \g /dev/null
select billing.rollback_users(array[b()]) \g /dev/null
select billing.open_account(d()), billing.open_account(e()) \g /dev/null
select rows_are(
    'select * from billing.list_migrated_users()',
    $$values (a(), 'migrated', tap_now(), null::timestamptz), (d(), 'new', null, null), (e(), 'new', null, null)$$,
    'not who waits, nor who went back'
);
select rows_are('select user_id from billing.list_migrated_users(a(), 1)', 'values (d())', 'a page after a user');
select rows_are('select user_id from billing.list_migrated_users(d(), 1)', 'values (e())', 'the next');
select is_empty('select user_id from billing.list_migrated_users(e())', 'after the last there is none');
select moves(b()) \g /dev/null
select rows_are(
    'select status, migrated_at, rolled_back_at from billing.list_migrated_users(a(), 1)',
    $$values ('migrated', tap_now(), tap_now())$$, 'who has returned is here again'
);
select throws_ok(
    format('select * from billing.list_migrated_users(p_limit => %s)', p_limit), 'UC422', 'limit_out_of_range',
    'no page of ' || p_limit
)
from unnest(array['0', '501', 'null']) p_limit;

select * from finish();
rollback;
