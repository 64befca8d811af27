-- A hold reserves an amount for a while, once per key, or is refused and leaves a trace.
\ir ../setup.psql

select billing.bootstrap_super_admin(admin()) \g /dev/null
select billing.open_account(a()) \g /dev/null

select rows_are(
    $$
    select success, amount, expires_at, available, reason, replayed
    from billing.hold_credits(a(), 3.000000001, '10 minutes', 'a call', 'key')
    $$,
    $$values (true, 3.000000001, '2025-03-10 12:10+00'::timestamptz, 1.999999999, null, false)$$,
    'what is held is not available'
);
select rows_are(
    $$
    select amount, captured, status, expires_at, description, idempotency_key, entry_no, created_at, ended_at
    from billing.credit_holds where user_id = a()
    $$,
    $$
    values (
        3.000000001, 0::numeric, 'active', '2025-03-10 12:10+00'::timestamptz, 'a call', 'key', null::bigint,
        '2025-03-10 12:00+00'::timestamptz, null::timestamptz
    )
    $$,
    'the hold'
);
select is(
    (select (balance, held, next_expiry_at, entry_count)::text from billing.credit_accounts where user_id = a()),
    (5.00, 3.000000001, '2025-03-10 12:10+00'::timestamptz, 1)::text, 'no credits move, and no entry is written'
);
select is(
    (billing.hold_credits(a(), 0.5)).expires_at, '2025-03-10 12:15+00', 'a hold lasts 15 minutes, unless it is said'
);

-- Keys.

select rows_are(
    $$
    select r.hold_id = h.hold_id, r.amount, r.expires_at, r.available, r.replayed
    from billing.hold_credits(a(), 3.000000001, '1 day', 'another text', 'key') r, billing.credit_holds h
    where h.user_id = a() and h.idempotency_key = 'key'
    $$,
    $$values (true, 3.000000001, '2025-03-10 12:10+00'::timestamptz, 1.499999999, true)$$,
    'the same amount is replayed, whatever its text and time, with what is available by then'
);
select throws_ok(
    $$select billing.hold_credits(a(), 3, p_idempotency_key => 'key')$$, 'UC409', 'idempotency_key_reused',
    'another amount is another request'
);
set local tap.now = '2025-03-10 13:00+00';
select is(
    (billing.hold_credits(a(), 3.000000001, p_idempotency_key => 'key')).replayed, true, 'a hold that has ended keeps its key'
);
select is((select held from billing.credit_accounts where user_id = a()), 0.000000000, 'and holds nothing');

-- Refusals.

select is(
    billing.hold_credits(a(), 5.000000001, '1 hour', 'too much', 'refused'),
    (false, null, 0, null, 5, 'insufficient_credits', false)::billing.hold_result,
    'more than there is is refused'
);
select rows_are(
    $$
    select type, amount, operation, idempotency_key, description, metadata
    from billing.credit_ledger where user_id = a() and entry_no = 2
    $$,
    $$
    values ('usage', 0::numeric, 'hold_credits', null, 'too much', jsonb_build_object(
        'refused', 'insufficient_credits', 'asked', 5.000000001, 'available', 5.00, 'idempotency_key', 'refused'
    ))
    $$,
    'R04: and leaves an entry of 0'
);
select is(
    (select (success, available)::text from billing.hold_credits(a(), 5, p_idempotency_key => 'refused')), '(t,0.000000000)',
    'a refusal binds no key, and all that there is can be held'
);
select is(
    (billing.hold_credits(a(), 0.000000001)).reason, 'insufficient_credits', 'R18: what is held cannot be held again'
);
set local tap.now = '2025-03-10 13:15+00';
select is((billing.hold_credits(a(), 5)).success, true, 'R26: until the hold ends by itself');

select billing.open_account(b()) \g /dev/null
select billing.set_account_status(admin(), b(), 'frozen', 'r') \g /dev/null
select is(
    billing.hold_credits(b(), 1), (false, null, 0, null, 5, 'account_frozen', false)::billing.hold_result,
    'a frozen account holds nothing'
);
select billing.set_account_status(admin(), b(), 'closed', 'r') \g /dev/null
select is((billing.hold_credits(b(), 1)).reason, 'account_closed', 'nor a closed one');
select is(
    (select count(*) from billing.credit_ledger where user_id = b() and type = 'usage' and amount = 0), 2::bigint,
    'each with its entry of 0'
);

-- Requests that are none.

select throws_ok('select billing.hold_credits(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, 1', 'UC400', 'invalid_request'),
    ('a(), null', 'UC400', 'invalid_request'),
    ('nobody(), 1', 'UC404', 'account_not_found'),
    ('a(), 0', 'UC422', 'amount_not_positive'),
    ('a(), -1', 'UC422', 'amount_not_positive'),
    ('a(), 0.0000000001', 'UC422', 'amount_too_precise'),
    ('a(), 1000000000000.1', 'UC422', 'amount_too_large'),
    ('a(), ''NaN''', 'UC422', 'amount_too_large'),
    ('a(), ''infinity''', 'UC422', 'amount_too_large'),
    ('a(), 1, null', 'UC422', 'expires_in_out_of_range'),
    ('a(), 1, ''0''', 'UC422', 'expires_in_out_of_range'),
    ('a(), 1, ''-1 second''', 'UC422', 'expires_in_out_of_range'),
    ('a(), 1, ''30 days 0.000001 seconds''', 'UC422', 'expires_in_out_of_range'),
    ('a(), 1, ''178000000 years''', 'UC422', 'expires_in_out_of_range'),
    ('a(), 1, p_idempotency_key => ''''', 'UC400', 'invalid_request'),
    ('a(), 1, p_description => repeat(''d'', 2001)', 'UC400', 'invalid_request')
) c (arguments, code, name);
set local tap.now = '2025-03-10 14:00+00';
select is(
    (billing.hold_credits(a(), 1, '30 days')).expires_at, '2025-04-09 14:00+00', 'thirty days are the longest'
);
select is(
    (billing.hold_credits(a(), 1, '1 microsecond')).expires_at, '2025-03-10 14:00:00.000001+00', 'a moment the shortest'
);
-- Added to a time, a month can be more than 30 days, or less: what counts is what the interval compares as.
set local tap.now = '2025-03-31 12:00+00';
select is((billing.hold_credits(a(), 0.5, '1 month')).expires_at, '2025-04-30 12:00+00', 'a month is thirty days');
set local tap.now = '2026-02-10 12:00+00';
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select is(
    (billing.hold_credits(a(), 0.5, '1 month -30 days 1 second')).expires_at, '2026-02-10 12:00:01+00',
    'in February too'
);
-- What the month owes can be held, and captured.

set local tap.now = '2025-06-30 23:00+00';
select billing.open_account(e()) \g /dev/null
select billing.deduct_credits(e(), 5) \g /dev/null
set local tap.now = '2025-07-01 00:00+00';
select hold_id as owed from billing.hold_credits(e(), 5) \gset
select is((select held from billing.credit_accounts where user_id = e()), 5::numeric, 'a hold is granted what it needs');
set local tap.now = '2025-08-01 00:00+00';
select is((billing.capture_hold(e(), :'owed', 4)).balance_after, 1::numeric, 'and so is a capture that comes late');
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
