-- An admin moves credits by hand, within the limits of role and day, once per key; every attempt is in the log.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null

select rows_are(
    $$
    select success, reason, entry_no, amount, balance_after, replayed
    from billing.adjust_credits(admin(), a(), 50.000000001, 'goodwill', 'key')
    $$,
    'values (true, null, 2::bigint, 50.000000001, 55.000000001, false)', 'credits are added'
);
select rows_are(
    $$
    select type, amount, balance_after, used_after, operation, idempotency_key, description, actor, metadata - 'action_id',
        (metadata ->> 'action_id')::uuid = (select action_id from billing.admin_actions_log where target_user_id = a())
    from billing.credit_ledger where user_id = a() and entry_no = 2
    $$,
    $$
    values (
        'adjustment', 50.000000001, 55.000000001, 0::numeric, 'adjust_credits', 'key', 'goodwill', admin(), '{}'::jsonb,
        true
    )
    $$,
    'the entry names the admin, and the row of the log'
);
select rows_are(
    $$
    select source, amount, priority, expires_at from billing.credit_grants where user_id = a() and entry_no = 2
    $$,
    $$values ('adjustment', 50.000000001, 50, null::timestamptz)$$, 'the lot does not expire'
);
select rows_are(
    $$
    select admin_user_id, action, amount, reason, outcome, created_at, details
    from billing.admin_actions_log where target_user_id = a()
    $$,
    $$
    values (
        admin(), 'adjust_credits', 50.000000001, 'goodwill', 'done', '2025-03-10 12:00+00'::timestamptz,
        '{"entry_no": 2, "balance_after": 55.000000001, "idempotency_key": "key"}'::jsonb
    )
    $$,
    'the log says who did what, why, and what came of it'
);
select rows_are(
    $$
    select success, entry_no, amount, balance_after from billing.adjust_credits(admin(), a(), -7, 'taken back')
    $$,
    'values (true, 3::bigint, -7::numeric, 48.000000001)', 'credits are removed'
);
select rows_are(
    'select source, amount from billing.entry_funding(a(), 3)',
    $$values ('tier_grant', 5::numeric), ('adjustment', 2)$$, 'from the lots in their order, like usage'
);
select is((select used_total from billing.credit_accounts where user_id = a()), 7::numeric, 'along the usage axis');
select is(
    (select (day, day_total)::text from billing.user_roles where user_id = admin()), '(2025-03-10,57.000000001)',
    'the admin''s day counts both, as absolute amounts'
);

-- Keys.

select rows_are(
    $$
    select success, entry_no, amount, balance_after, replayed,
        action_id = (select action_id from billing.admin_actions_log where target_user_id = a() and amount > 0)
    from billing.adjust_credits(admin(), a(), 50.000000001, 'another reason', 'key')
    $$,
    'values (true, 2::bigint, 50.000000001, 55.000000001, true, true)', 'the same request is replayed'
);
select is(
    (select count(*) from billing.admin_actions_log where target_user_id = a()), 2::bigint, 'a replay is no second action'
);
select throws_ok('select billing.adjust_credits(' || arguments || ')', 'UC409', 'idempotency_key_reused', difference)
from (values
    ('admin(), a(), 50, ''goodwill'', ''key''', 'another amount is another request'),
    ('admin(), a(), -50.000000001, ''goodwill'', ''key''', 'another sign too'),
    ('chief(), a(), 50.000000001, ''goodwill'', ''key''', 'another admin too')
) c (arguments, difference);
select is(
    (billing.admin_grant_credits(admin(), a(), 1, 'r', null, 'key')).replayed, false, 'a key belongs to its function'
);

-- Refusals: an answer, a row in the log, and nothing else.

create function refused(p_actor uuid, p_amount numeric, p_user uuid default a()) returns text language sql as $$
    select concat_ws(' ', success, reason, amount, coalesce(entry_no, -1))
    from billing.adjust_credits(p_actor, p_user, p_amount, 'a try', 'refused')
$$;
create temp table before as
select count(*) as entries, max(balance_after) filter (where entry_no = 4) as balance from billing.credit_ledger where user_id = a();
select is(refused(a(), 1), 'f not_an_admin 0 -1', 'a user is no admin');
select is(refused(b(), 1), 'f not_an_admin 0 -1', 'nor is somebody without an account or a role');
select is(refused(admin(), 1000.000000001), 'f admin_limit_exceeded 0 -1', 'a single action has a limit');
select is(refused(admin(), -1000.000000001), 'f admin_limit_exceeded 0 -1', 'in both directions');
select is(refused(admin(), -49.000000002), 'f insufficient_credits 0 -1', 'more than there is cannot be removed');
select billing.hold_credits(a(), 49) \g /dev/null
select is(refused(admin(), -0.000000002), 'f insufficient_credits 0 -1', 'nor what is held');
update billing.admin_limits set approval_above = 10 where role = 'admin';
select is(refused(admin(), 10.000000001), 'f approval_required 0 -1', 'R17: above approval_above one admin is not enough');
select is((billing.adjust_credits(admin(), a(), 10, 'r')).success, true, 'R17: up to it one is');
update billing.admin_limits set approval_above = null where role = 'admin';
select is(
    (select count(*) from billing.credit_ledger where user_id = a()), (select entries + 1 from before),
    'no refusal leaves an entry'
);
select rows_are(
    $$
    select admin_user_id, amount, outcome, details ->> 'idempotency_key' from billing.admin_actions_log
    where target_user_id = a() and reason = 'a try'
    order by amount, outcome, admin_user_id
    $$,
    $$
    values (admin(), -1000.000000001, 'admin_limit_exceeded', 'refused'),
        (admin(), -49.000000002, 'insufficient_credits', 'refused'),
        (admin(), -0.000000002, 'insufficient_credits', 'refused'),
        (a(), 1, 'not_an_admin', 'refused'), (b(), 1, 'not_an_admin', 'refused'),
        (admin(), 10.000000001, 'approval_required', 'refused'),
        (admin(), 1000.000000001, 'admin_limit_exceeded', 'refused')
    $$,
    'each is in the admin log with its reason'
);
select is(
    (select day_total from billing.user_roles where user_id = admin()), 68.000000001, 'and none counts for the day'
);

-- The day.

update billing.user_roles set day_total = 4000 where user_id = admin();
select is((billing.adjust_credits(admin(), a(), 1000, 'r')).success, true, 'the day''s limit can be reached');
select is(refused(admin(), 0.000000001), 'f admin_limit_exceeded 0 -1', 'and not passed');
set local tap.now = '2025-03-10 23:59:59.999999+00';
select is(refused(admin(), -0.000000001), 'f admin_limit_exceeded 0 -1', 'until the UTC day ends');
set local timezone = 'Asia/Tokyo';
set local tap.now = '2025-03-11 00:00+00';
select is((billing.adjust_credits(admin(), a(), 1000, 'r')).success, true, 'the next one begins at 0');
reset timezone;
select is(
    (select (day, day_total)::text from billing.user_roles where user_id = admin()), '(2025-03-11,1000)', 'and counts anew'
);
select is((billing.adjust_credits(chief(), a(), 100000, 'r')).success, true, 'a super admin has limits of their own');
select is(refused(chief(), 100000.1), 'f admin_limit_exceeded 0 -1', 'and not none');
delete from billing.admin_limits where role = 'admin';
select is(refused(admin(), 1), 'f admin_limit_exceeded 0 -1', 'a role without limits moves nothing');
select billing.set_user_role(chief(), admin(), 'user') \g /dev/null
select is(refused(admin(), 1), 'f not_an_admin 0 -1', 'nor does an admin of yesterday');

select is(
    (select (success, replayed)::text from billing.adjust_credits(chief(), a(), 1, 'r', 'refused')), '(t,f)',
    'none of the refusals has bound its key'
);

-- The own account.

select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
insert into billing.admin_limits values ('admin', 1000, 5000, false);
select billing.open_account(u) from unnest(array[admin(), chief()]) u \g /dev/null
select is(refused(admin(), 1, admin()), 'f approval_required 0 -1', 'nobody gives themselves credits alone');
select is(refused(chief(), 0.000000001, chief()), 'f approval_required 0 -1', 'no super admin, not the least of them');
select is(refused(admin(), -1, admin()), 'f approval_required 0 -1', 'nor takes them away');
select is(refused(admin(), 1001, admin()), 'f admin_limit_exceeded 0 -1', 'a limit is the reason before that');
select is(
    (select sum(balance) from billing.credit_accounts where user_id in (admin(), chief())), 10::numeric, 'nothing moves'
);
select is((billing.adjust_credits(chief(), admin(), 1, 'r')).success, true, 'another admin does');

-- Debt, frozen, closed.

select billing.open_account(b()) \g /dev/null
update billing.credit_accounts set debt = 2 where user_id = b();
select is(
    (select (amount, balance_after, entry_no)::text from billing.adjust_credits(chief(), b(), 3, 'r')), '(3,8.00,2)',
    'the balance is that after the entry, as a replay tells it'
);
select is((billing.get_account(b())).balance, 6.00, 'then the added credits repay debt');
select is((select debt from billing.credit_accounts where user_id = b()), 0::numeric, 'which is gone');
select billing.set_account_status(chief(), b(), 'frozen', 'r') \g /dev/null
select is((billing.adjust_credits(chief(), b(), -1, 'r')).success, true, 'a frozen account can be adjusted');
select billing.set_account_status(chief(), b(), 'closed', 'r') \g /dev/null
select is(refused(chief(), 1, b()), 'f account_closed 0 -1', 'a closed one cannot');

-- Requests that are none.

select throws_ok('select billing.adjust_credits(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, a(), 1, ''r''', 'UC400', 'invalid_request'),
    ('chief(), null, 1, ''r''', 'UC400', 'invalid_request'),
    ('chief(), a(), null, ''r''', 'UC400', 'invalid_request'),
    ('chief(), a(), 1, ''r'', ''''', 'UC400', 'invalid_request'),
    ('chief(), a(), 1, repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('chief(), nobody(), 1, ''r''', 'UC404', 'account_not_found'),
    ('chief(), a(), 1, null', 'UC422', 'reason_required'),
    ('chief(), a(), 1, '' ''', 'UC422', 'reason_required'),
    ('chief(), a(), 0, ''r''', 'UC422', 'amount_zero'),
    ('chief(), a(), 0.0000000001, ''r''', 'UC422', 'amount_too_precise'),
    ('chief(), a(), -0.0000000001, ''r''', 'UC422', 'amount_too_precise'),
    ('chief(), a(), 1000000000000.1, ''r''', 'UC422', 'amount_too_large'),
    ('chief(), a(), -1000000000000.1, ''r''', 'UC422', 'amount_too_large'),
    ('chief(), a(), ''NaN'', ''r''', 'UC422', 'amount_too_large'),
    ('chief(), a(), ''infinity'', ''r''', 'UC422', 'amount_too_large'),
    ('chief(), a(), ''-infinity'', ''r''', 'UC422', 'amount_too_large')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
