-- Who is an admin, super admins first, each as get_admin tells it; users, of yesterday too, are not among them.
\ir ../setup.psql

select is_empty('select * from billing.list_admins()', 'at first there is none');
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), u, 'admin') from unnest(array[admin(), b(), a(), c()]) u \g /dev/null
select billing.set_user_role(chief(), d(), 'super_admin') \g /dev/null
select billing.set_user_role(chief(), c(), 'user') \g /dev/null
select billing.open_account(e()) \g /dev/null
select billing.adjust_credits(admin(), e(), 7, 'r') \g /dev/null

set local role billing_api;
select results_eq(
    'select user_id, role from billing.list_admins()',
    $$
    values (d(), 'super_admin'), (chief(), 'super_admin'), (a(), 'admin'), (b(), 'admin'), (admin(), 'admin')
    $$,
    'super admins first, by their ids'
);
select results_eq(
    'select l.* from billing.list_admins() l', 'select g.* from billing.list_admins() l, billing.get_admin(l.user_id) g',
    'each is as it is told alone'
);
select results_eq(
    'select user_id, moved_today from billing.list_admins() where moved_today <> 0', 'values (admin(), 7::numeric)',
    'with what was moved today'
);
reset role;

select * from finish();
rollback;
