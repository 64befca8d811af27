-- Where a user lives is one word: waiting or rolled_back in the old system, migrated or new in this one, or unknown.
\ir ../legacy.psql

select old_user(a()), old_user(b()), old_user(c()) \g /dev/null
select billing.migrate_users(array[a(), b()]) \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
select billing.rollback_users(array[b()]) \g /dev/null
select billing.open_account(d()) \g /dev/null
select billing.legacy_record_purchase(e(), 5, 500, 'pi_e') \g /dev/null
-- Locked once, and known to nobody.
insert into billing.user_migrations (user_id) values (admin());
set local role billing_api;
select is(
    billing.get_migration(user_id)::text, format('(%s,%s)', user_id, wanted),
    'of one who is ' || split_part(wanted, ',', 1)
)
from (values
    (a(), 'migrated,"' || '2025-03-10 12:00+00'::timestamptz || '",'),
    (b(), format('rolled_back,"%s","%s"', '2025-03-10 12:00+00'::timestamptz, '2025-03-11 12:00+00'::timestamptz)),
    (c(), 'waiting,,'), (d(), 'new,,'), (e(), 'waiting,,'), (admin(), 'unknown,,'), (nobody(), 'unknown,,')
) v (user_id, wanted);
select throws_ok('select billing.get_migration(null)', 'UC400', 'invalid_request', 'a user must be given');
reset role;
select is((select count(*) from billing.user_migrations where user_id = nobody()), 0::bigint, 'asking leaves no trace');
select old_user(d()) \g /dev/null
select is(
    (billing.get_migration(d())).status, 'new', 'one who has an account is here, whatever the old system learns later'
);
select moves(d()) \g /dev/null
select is((billing.get_migration(d())).status, 'migrated', 'until it is moved as well');

select * from finish();
rollback;
