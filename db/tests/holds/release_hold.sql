-- Releasing gives the credits of a hold back, once; a hold that has ended is told as it is.
\ir ../setup.psql

create function hold(p_key text) returns uuid language sql as
$$select hold_id from billing.credit_holds where user_id = a() and idempotency_key = p_key$$;
select billing.open_account(a()) \g /dev/null
select billing.hold_credits(a(), 1, p_idempotency_key => h) from unnest(array['one', 'two', 'three']) h \g /dev/null
select billing.capture_hold(a(), hold('three'), 0.25) \g /dev/null

set local tap.now = '2025-03-10 12:05+00';
select is(
    billing.release_hold(a(), hold('one')),
    (
        a(), hold('one'), 1, 0, 'released', '2025-03-10 12:15+00', null, 'one', null, '2025-03-10 12:00+00',
        '2025-03-10 12:05+00'
    )::billing.hold,
    'the hold'
);
select is(
    (select (balance, held)::text from billing.credit_accounts where user_id = a()), '(4.75,1)', 'gives its credits back'
);
set local tap.now = '2025-03-10 12:06+00';
select is(
    (billing.release_hold(a(), hold('one'))).ended_at, '2025-03-10 12:05+00', 'once: the second time it is as it was'
);
select is((select held from billing.credit_accounts where user_id = a()), 1::numeric, 'and gives nothing');
select is(
    (select (status, captured)::text from billing.release_hold(a(), hold('three'))), '(captured,0.25)',
    'R26: nor does a hold that was captured'
);
set local tap.now = '2025-03-10 12:15+00';
select is((billing.release_hold(a(), hold('two'))).status, 'expired', 'R26: a hold that nobody released has expired');
select is(
    (select (balance, held, next_expiry_at)::text from billing.credit_accounts where user_id = a()),
    (4.75, 0, '2025-04-01 00:00+00'::timestamptz)::text, 'R26: and locks nothing'
);
select is((select count(*) from billing.credit_ledger where user_id = a()), 2::bigint, 'releasing leaves no entry');

-- What a lot kept for a hold goes with it.
set local tap.now = '2025-03-31 23:55+00';
select billing.hold_credits(a(), 2, p_idempotency_key => 'four') \g /dev/null
select billing.hold_credits(a(), 1, p_idempotency_key => 'five') \g /dev/null
set local tap.now = '2025-04-01 00:05+00';
select is((billing.get_account(a())).balance, 3.00, 'the lot has ended, but for what is held');
select billing.release_hold(a(), hold('four')) \g /dev/null
select is((billing.get_account(a())).balance, 1.00, 'with one hold goes its part');
set local tap.now = '2025-04-01 00:10+00';
select is((billing.get_account(a())).balance, 0.00, 'the other hold ends by itself, and its part goes');
select billing.release_hold(a(), hold('five')) \g /dev/null
select rows_are(
    $$
    select amount, metadata ->> 'due_at' from billing.credit_ledger where user_id = a() and type = 'expiry'
    order by entry_no
    $$,
    $$values (-1.75, '2025-04-01T00:00:00'), (-2.00, '2025-04-01T00:05:00'), (-1.00, '2025-04-01T00:10:00')$$,
    'each part expires when it was due'
);

select throws_ok('select billing.release_hold(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null, hold(''one'')', 'UC400', 'invalid_request'),
    ('nobody(), hold(''one'')', 'UC404', 'account_not_found'),
    ('a(), null', 'UC404', 'hold_not_found'),
    ('a(), gen_random_uuid()', 'UC404', 'hold_not_found')
) c (arguments, code, name);
select billing.open_account(b()) \g /dev/null
select throws_ok(
    $$select billing.release_hold(b(), hold('one'))$$, 'UC404', 'hold_not_found',
    'nobody releases another''s hold'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
