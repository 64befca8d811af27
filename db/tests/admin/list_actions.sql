-- The admin log, the newest first, by account, admin, action, outcome and time, page by page.
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
create function told(
    p_target uuid default null, p_admin uuid default null, p_before uuid default null, p_limit int default 50,
    p_action text default null, p_refused boolean default null, p_from timestamptz default null,
    p_to timestamptz default null
)
returns text language sql as $$
    select coalesce(string_agg(reason, ', '), '')
    from billing.list_actions(p_target, p_admin, p_before, p_limit, p_action, p_refused, p_from, p_to)
$$;
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
select is(told(p_action => 'adjust_credits'), 'three, two, one', 'of one action');
select is(told(b(), p_action => 'set_user_role'), '', 'of one action to one account');
select is(told(null, chief(), p_action => 'set_user_role'), 'new', 'of one action by one admin');
select is(told(p_refused => true), 'three', 'what was refused');
select is(told(p_refused => false), 'two, one, new, the first super admin', 'what was done');
select is(told(a(), p_refused => false), 'one', 'of one account');
select is(told(p_from => '2025-03-10 12:02+00'), 'three, two, one', 'from a time on');
select is(told(p_from => '2025-03-10 12:02:00.000001+00'), 'three, two', 'which is the first moment');
select is(told(p_to => '2025-03-10 12:02+00'), 'new, the first super admin', 'until before a time');
select is(
    told(p_to => '2025-03-10 12:02:00.000001+00'), 'one, new, the first super admin',
    'which is the first moment no more'
);
select is(
    told(
        p_from => '2025-03-10 12:02+00', p_to => '2025-03-10 12:04+00', p_refused => false,
        p_action => 'adjust_credits', p_limit => 1
    ),
    'two', 'all at once'
);
select is(told(p_from => '-infinity', p_to => 'infinity', p_limit => 1), 'three', 'of all time');
select is(told(p_from => '1066-10-14', p_limit => 1), 'three', 'long before there were ids');
-- An id rounds its time to milliseconds.
set local tap.now = '2025-03-10 12:05:00.0005+00';
select billing.adjust_credits(admin(), b(), 4, 'rounded up') \g /dev/null
set local tap.now = '2025-03-10 12:06:00.000499+00';
select billing.adjust_credits(admin(), b(), 5, 'rounded down') \g /dev/null
select is(told(p_from => '2025-03-10 12:05:00.0005+00'), 'rounded down, rounded up', 'from its very moment');
select is(
    told(p_from => '2025-03-10 12:05+00', p_to => '2025-03-10 12:05:00.000501+00'), 'rounded up', 'up to just after it'
);
select is(told(p_from => '2025-03-10 12:06:00.000499+00'), 'rounded down', 'of one that was rounded down too');
select is(told(p_from => '2025-03-10 12:06+00', p_to => '2025-03-10 12:06:00.000499+00'), '', 'or until before it');

-- Enough actions for the planner to have a choice: many of one admin, by one action, to one account.
insert into billing.admin_actions_log (target_user_id, action_id, admin_user_id, action, reason, outcome, created_at)
select
    b(), billing_private.time_ordered_id(at), admin(), 'adjust_credits', 'r', 'done', at
from generate_series('2025-03-11 00:00+00', '2025-03-11 10:00+00', interval '2 seconds') at;
analyze billing.admin_actions_log;
select cmp_ok(
    pages_read('select billing.list_actions(' || arguments || ')'), '<', 30, 'reads what it shows: ' || arguments
)
from unnest(array[
    '', 'a()', 'p_admin_user_id => chief()', 'p_action => ''set_user_role''', 'p_refused => true',
    'p_admin_user_id => admin(), p_action => ''change_tier''', 'p_to => ''2025-03-11 05:00+00''',
    'p_action => ''adjust_credits'', p_refused => true'
]) arguments;

select throws_ok(
    'select billing.list_actions(p_from => now(), p_to => now())', 'UC400', 'invalid_request', 'a time before itself'
);
select throws_ok(
    format('select billing.list_actions(p_limit => %s)', n), 'UC422', 'limit_out_of_range', 'no page: ' || n
)
from unnest(array['0', '501', 'null', '-1']) n;

select * from finish();
rollback;
