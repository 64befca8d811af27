-- An admin grants credits that may expire, within the limits, once per key.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null

select rows_are(
    $$
    select success, reason, entry_no, amount, balance_after, replayed
    from billing.admin_grant_credits(admin(), a(), 20, 'sorry', '2025-03-20 00:00+00', 'key')
    $$,
    'values (true, null, 2::bigint, 20::numeric, 25::numeric, false)', 'a grant with an expiry'
);
select rows_are(
    $$
    select l.type, l.actor, l.description, g.source, g.priority, g.expires_at
    from billing.credit_ledger l join billing.credit_grants g using (user_id, entry_no)
    where user_id = a() and entry_no = 2
    $$,
    $$values ('adjustment', admin(), 'sorry', 'adjustment', 50, '2025-03-20 00:00+00'::timestamptz)$$, 'its entry and lot'
);
select rows_are(
    $$select admin_user_id, action, amount, outcome, details ->> 'entry_no' from billing.admin_actions_log where target_user_id = a()$$,
    $$values (admin(), 'admin_grant_credits', 20::numeric, 'done', '2')$$, 'and its row in the log'
);
select is((select day_total from billing.user_roles where user_id = admin()), 20::numeric, 'it counts for the day');
select is(
    (billing.admin_grant_credits(admin(), a(), 1, 'r')).success, true, 'without an expiry it lasts'
);

set local tap.now = '2025-03-20 00:00+00';
select is((billing.get_account(a())).balance, 6.00, 'what expires does');
set local timezone = 'Asia/Tokyo';
set local datestyle = 'German';
select is(
    (billing.admin_grant_credits(admin(), a(), 20, 'another', '2025-03-20 00:00+00', 'key')).replayed, true,
    'the same request is replayed after its expiry, and from another time zone'
);
reset timezone;
reset datestyle;
select throws_ok('select billing.admin_grant_credits(' || arguments || ')', 'UC409', 'idempotency_key_reused', difference)
from (values
    ('admin(), a(), 21, ''sorry'', ''2025-03-20 00:00+00'', ''key''', 'another amount is another request'),
    ('admin(), a(), 20, ''sorry'', ''2025-03-21 00:00+00'', ''key''', 'another expiry too'),
    ('admin(), a(), 20, ''sorry'', null, ''key''', 'and none'),
    ('chief(), a(), 20, ''sorry'', ''2025-03-20 00:00+00'', ''key''', 'another admin too')
) c (arguments, difference);

create function refused(p_actor uuid, p_amount numeric) returns text language sql as $$
    select concat_ws(' ', success, reason, amount, coalesce(entry_no, -1))
    from billing.admin_grant_credits(p_actor, a(), p_amount, 'a try')
$$;
select is(refused(a(), 1), 'f not_an_admin 0 -1', 'a user is no admin');
select is(refused(admin(), 1000.000000001), 'f admin_limit_exceeded 0 -1', 'a single action has a limit');
update billing.admin_limits set approval_above = 100;
select is(refused(admin(), 101), 'f approval_required 0 -1', 'R17: above approval_above one admin is not enough');
update billing.admin_limits set max_daily_total = 20;
select is(refused(admin(), 20.1), 'f admin_limit_exceeded 0 -1', 'the day has a limit');
select billing.open_account(chief()) \g /dev/null
select rows_are(
    $$select success, reason, entry_no, amount from billing.admin_grant_credits(chief(), chief(), 1, 'mine')$$,
    $$values (false, 'approval_required', null::bigint, 0::numeric)$$, 'nobody grants themselves credits alone'
);
select billing.set_account_status(chief(), a(), 'closed', 'r') \g /dev/null
select is(refused(admin(), 1), 'f account_closed 0 -1', 'a closed account gets nothing');
select is(
    (select string_agg(outcome, ' ' order by outcome) from billing.admin_actions_log where reason = 'a try'),
    'account_closed admin_limit_exceeded admin_limit_exceeded approval_required not_an_admin', 'all of it is logged'
);

select throws_ok('select billing.admin_grant_credits(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, a(), 1, ''r''', 'UC400', 'invalid_request'),
    ('chief(), null, 1, ''r''', 'UC400', 'invalid_request'),
    ('chief(), a(), null, ''r''', 'UC400', 'invalid_request'),
    ('chief(), a(), 1, ''r'', null, ''''', 'UC400', 'invalid_request'),
    ('chief(), nobody(), 1, ''r''', 'UC404', 'account_not_found'),
    ('chief(), a(), 1, '' ''', 'UC422', 'reason_required'),
    ('chief(), a(), 0, ''r''', 'UC422', 'amount_not_positive'),
    ('chief(), a(), -1, ''r''', 'UC422', 'amount_not_positive'),
    ('chief(), a(), 0.0000000001, ''r''', 'UC422', 'amount_too_precise'),
    ('chief(), a(), 1000000000000.1, ''r''', 'UC422', 'amount_too_large'),
    ('chief(), a(), ''NaN'', ''r''', 'UC422', 'amount_too_large'),
    ('chief(), a(), 1, ''r'', ''2025-03-20 00:00+00''', 'UC422', 'expiry_not_ahead'),
    ('chief(), a(), 1, ''r'', ''infinity''', 'UC422', 'expiry_not_ahead')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
