-- The owner makes the first super admin, while there is none.
\ir ../setup.psql

select rows_are(
    'select success, reason, entry_no, amount, balance_after, replayed from billing.bootstrap_super_admin(a())',
    'values (true, null, null, 0, null, false)', 'the first super admin needs no account'
);
select is(billing.get_user_role(a()), 'super_admin', 'is one');
select rows_are(
    'select user_id, role, granted_by, granted_at, day_total from billing.user_roles',
    $$values (a(), 'super_admin', null, '2025-03-10 12:00+00'::timestamptz, 0)$$, 'by nobody''s grant'
);
select rows_are(
    'select target_user_id, admin_user_id, action, outcome, details from billing.admin_actions_log',
    $$values (a(), null, 'bootstrap_super_admin', 'done', jsonb_build_object('login', session_user))$$,
    'which the log tells, with the login'
);
select throws_ok(
    'select billing.bootstrap_super_admin(b())', 'UC409', 'super_admin_exists', 'there is no second bootstrap'
);
select throws_ok(
    'select billing.bootstrap_super_admin(a())', 'UC409', 'super_admin_exists', 'not even for the same user'
);
select throws_ok('select billing.bootstrap_super_admin(null)', 'UC400', 'invalid_request', 'a user must be given');
update billing.user_roles set role = 'admin';
select is((billing.bootstrap_super_admin(a())).success, true, 'an admin can become the first');
select is(billing.get_user_role(a()), 'super_admin', 'and is');

select * from finish();
rollback;
