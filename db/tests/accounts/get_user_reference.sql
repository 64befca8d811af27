-- What the application calls a user.
\ir ../setup.psql

select billing.set_user_reference(a(), 'ann@example.com') \g /dev/null
select is(billing.get_user_reference(a()), 'ann@example.com', 'what was said');
select is(billing.get_user_reference(b()), null::text, 'null when nothing was');
select is(billing.get_user_reference(null), null::text, 'of nobody too');

select * from finish();
rollback;
