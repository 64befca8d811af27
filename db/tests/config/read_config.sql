-- An admin reads the configuration; nobody else does.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.set_user_role(chief(), b(), 'admin') \g /dev/null
select billing.set_user_role(chief(), b(), 'user') \g /dev/null

select is(billing.read_config(admin()), billing.get_config(), 'an admin, as the owner of the database does');
select is(billing.read_config(chief()), billing.get_config(), 'a super admin too');
select throws_ok(format('select billing.read_config(%L)', u), 'UC403', 'not_an_admin', 'not ' || who)
from (values (a(), 'a user'), (b(), 'who was one'), (null, 'nobody')) v (u, who);

select * from finish();
rollback;
