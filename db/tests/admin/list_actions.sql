-- The admin log, the newest first, for one account or admin or all, page by page.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.open_account(a()) \g /dev/null
select billing.open_account(b()) \g /dev/null
set local tap.now = '2025-03-10 12:01+00';
select billing.set_user_role(chief(), admin(), 'admin', 'new') \g /dev/null
set local tap.now = '2025-03-10 12:02+00';
select billing.adjust_credits(admin(), a(), 1, 'one') \g /dev/null
set local tap.now = '2025-03-10 12:03+00';
select billing.adjust_credits(admin(), b(), 2, 'two') \g /dev/null
set local tap.now = '2025-03-10 12:04+00';
select billing.adjust_credits(b(), a(), 3, 'three') \g /dev/null

select rows_are(
    'select target_user_id, admin_user_id, action, amount, reason, outcome, created_at from billing.list_actions(a())',
    $$
    values (a(), b(), 'adjust_credits', 3, 'three', 'not_an_admin', '2025-03-10 12:04+00'::timestamptz),
        (a(), admin(), 'adjust_credits', 1, 'one', 'done', '2025-03-10 12:02+00')
    $$,
    'what was done to an account, and what was tried'
);
create function told(p_target uuid default null, p_admin uuid default null, p_before uuid default null, p_limit int default 50)
returns text language sql as
$$select coalesce(string_agg(reason, ', '), '') from billing.list_actions(p_target, p_admin, p_before, p_limit)$$;
select is(told(), 'three, two, one, new, the first super admin', 'all');
select is(told(null, admin()), 'two, one', 'of one admin');
select is(told(a(), admin()), 'one', 'of one admin to one account');
select is(told(nobody()), '', 'of nobody');
select is(told(p_limit => 2), 'three, two', 'a page');
select is(
    told(p_limit => 2, p_before => (select action_id from billing.admin_actions_log where reason = 'two')), 'one, new',
    'and the next'
);
select is(
    told(a(), p_before => (select action_id from billing.admin_actions_log where reason = 'three')), 'one', 'of an account'
);
select throws_ok(
    format('select billing.list_actions(p_limit => %s)', n), 'UC422', 'limit_out_of_range', 'no page: ' || n
)
from unnest(array['0', '501', 'null', '-1']) n;

select * from finish();
rollback;
