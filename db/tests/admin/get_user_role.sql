-- The role of a user; user when nothing else is known.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select is(billing.get_user_role(chief()), 'super_admin', 'a super admin');
select is(billing.get_user_role(admin()), 'admin', 'an admin');
select is(billing.get_user_role(nobody()), 'user', 'somebody who is not known');
select is(billing.get_user_role(null), 'user', 'nobody');

select * from finish();
rollback;
