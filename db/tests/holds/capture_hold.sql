-- A capture takes what the call cost and ends its hold, once; a late one collects again if it can.
\ir ../setup.psql

create function hold(p_key text, p_user uuid default a()) returns uuid language sql as
$$select hold_id from billing.credit_holds where user_id = p_user and idempotency_key = p_key$$;
select billing.bootstrap_super_admin(admin()) \g /dev/null
select billing.open_account(a()) \g /dev/null
select billing.grant_credits(a(), 20, 'promotion') \g /dev/null
select billing.hold_credits(a(), 4, p_idempotency_key => h) from unnest(array['less', 'all', 'more', 'lost', 'given']) h \g /dev/null

select is(
    billing.capture_hold(a(), hold('less'), 1.5, 'done', 'key', '{"x": 1}'),
    (true, 3, 1.5, 23.5, 7.5, null, false)::billing.deduction, 'less than was held: the rest is available again'
);
select rows_are(
    $$
    select type, amount, balance_after, used_after, operation, idempotency_key, reference_type, reference_id, description,
        metadata
    from billing.credit_ledger where user_id = a() and entry_no = 3
    $$,
    $$
    values (
        'usage', -1.5, 23.5, 1.5, 'capture_hold', 'key', 'hold', hold('less')::text, 'done', '{"x": 1}'::jsonb
    )
    $$,
    'the entry names the hold'
);
select rows_are(
    $$
    select status, amount, captured, entry_no, ended_at
    from billing.credit_holds where user_id = a() and idempotency_key = 'less'
    $$,
    $$values ('captured', 4::numeric, 1.5, 3::bigint, '2025-03-10 12:00+00'::timestamptz)$$, 'and the hold its entry'
);
select is(
    billing.capture_hold(a(), hold('all'), 4), (true, 4, 4, 19.5, 7.5, null, false)::billing.deduction, 'as much as was held'
);
select is(
    billing.capture_hold(a(), hold('more'), 11.500000001),
    (false, 5, 0, 19.5, 7.5, 'insufficient_credits', false)::billing.deduction,
    'more than was held and is available is refused'
);
select is(
    (select metadata - 'idempotency_key' from billing.credit_ledger where user_id = a() and entry_no = 5),
    '{"refused": "insufficient_credits", "asked": 11.500000001, "available": 7.50}', 'R04: with its trace'
);
select is(
    billing.capture_hold(a(), hold('more'), 11), (true, 6, 11, 8.5, 0.5, null, false)::billing.deduction,
    'more than was held is taken from what is available, and the refusal did not end the hold'
);

-- Keys, and a second capture.

select is(
    billing.capture_hold(a(), hold('less'), 1.50, 'another text', 'key'),
    (true, 3, 1.5, 23.5, 0.5, null, true)::billing.deduction, 'the same capture is replayed'
);
select throws_ok('select billing.capture_hold(a(), ' || arguments || ')', code, name, difference)
from (values
    ('hold(''less''), 1, null, ''key''', 'UC409', 'idempotency_key_reused', 'another amount is another request'),
    ('hold(''lost''), 1.5, null, ''key''', 'UC409', 'idempotency_key_reused', 'another hold too'),
    ('hold(''less''), 1.5, null, ''key2''', 'UC409', 'hold_not_active', 'under another key a hold is not captured again'),
    ('hold(''less''), 1.5', 'UC409', 'hold_not_active', 'nor without a key')
) c (arguments, code, name, difference);
select is(
    (select (status, captured)::text from billing.release_hold(a(), hold('less'))), '(captured,1.5)',
    'R26: nor do its credits come back by releasing it'
);

-- Late captures.

select billing.release_hold(a(), hold('given')) \g /dev/null
select is(
    billing.capture_hold(a(), hold('given'), 4.5, null, 'given'), (true, 7, 4.5, 4, 0, null, false)::billing.deduction,
    'R27: a hold that was released is collected again'
);
set local tap.now = '2025-03-10 12:15+00';
select is(
    billing.capture_hold(a(), hold('lost'), 4.000000001, null, 'lost'),
    (false, 8, 0, 4, 4, 'insufficient_credits', false)::billing.deduction,
    'R26: one that has expired is refused when the balance does not cover it'
);
select is(
    (select status from billing.credit_holds where user_id = a() and idempotency_key = 'lost'), 'expired',
    'R26: it is expired'
);
select is(
    billing.capture_hold(a(), hold('lost'), 4, null, 'lost'), (true, 9, 4, 0, 0, null, false)::billing.deduction,
    'R26: and collected when it does'
);
select is(
    (select status from billing.credit_holds where user_id = a() and idempotency_key = 'lost'), 'captured',
    'R26: so that it cannot be twice'
);

-- Frozen and closed.

select billing.open_account(b()) \g /dev/null
select billing.hold_credits(b(), 2, p_idempotency_key => h) from unnest(array['one', 'two']) h \g /dev/null
select billing.set_account_status(admin(), b(), 'frozen', 'r') \g /dev/null
select is(
    billing.capture_hold(b(), hold('one', b()), 2.5), (false, 2, 0, 5, 1, 'account_frozen', false)::billing.deduction,
    'a frozen account pays no more than it holds'
);
select is(
    billing.capture_hold(b(), hold('one', b()), 2), (true, 3, 2, 3, 1, null, false)::billing.deduction,
    'a live hold is captured while the account is frozen'
);
set local tap.now = '2025-03-10 13:00+00';
select is(
    (billing.capture_hold(b(), hold('two', b()), 2)).reason, 'account_frozen', 'one that has expired is not'
);
select billing.set_account_status(admin(), b(), 'closed', 'r') \g /dev/null
select is((billing.capture_hold(b(), hold('two', b()), 2)).reason, 'account_closed', 'nor when it is closed');

-- Credits under a hold do not expire.

set local tap.now = '2025-03-31 23:50+00';
select billing.open_account(c()) \g /dev/null
select billing.grant_credits(c(), 10, 'promotion') \g /dev/null
select billing.hold_credits(c(), 3, p_idempotency_key => 'h') \g /dev/null
set local tap.now = '2025-04-01 00:01+00';
select is(
    (select (balance, held, available)::text from billing.get_account(c())), '(13.00,3,10.00)',
    'a lot that ends keeps what is held, the rest of it is gone'
);
select is(
    billing.capture_hold(c(), hold('h', c()), 2), (true, 4, 2, 11, 10, null, false)::billing.deduction,
    'a capture burns it first, and what it leaves goes too'
);
select rows_are(
    $$
    select type, amount, grant_no, metadata ->> 'due_at' from billing.credit_ledger
    where user_id = c() and entry_no > 2 order by entry_no
    $$,
    $$
    values ('expiry', -2::numeric, 1::bigint, '2025-04-01T00:00:00'), ('usage', -2, null, null),
        ('expiry', -1, 1, '2025-04-01T00:01:00')
    $$,
    'each part as its own entry, when it was due'
);
select rows_are(
    'select grant_no, amount from billing.entry_funding(c(), 4)', 'values (1::bigint, 2::numeric)', 'the lot that ended paid'
);

-- Requests that are none.

select throws_ok('select billing.capture_hold(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, hold(''more''), 1', 'UC400', 'invalid_request'),
    ('a(), hold(''more''), null', 'UC400', 'invalid_request'),
    ('nobody(), hold(''more''), 1', 'UC404', 'account_not_found'),
    ('a(), null, 1', 'UC404', 'hold_not_found'),
    ('a(), gen_random_uuid(), 1', 'UC404', 'hold_not_found'),
    ('b(), hold(''more''), 1', 'UC404', 'hold_not_found'),
    ('a(), hold(''more''), 0', 'UC422', 'amount_not_positive'),
    ('a(), hold(''more''), -1', 'UC422', 'amount_not_positive'),
    ('a(), hold(''more''), 0.0000000001', 'UC422', 'amount_too_precise'),
    ('a(), hold(''more''), 1000000000000.1', 'UC422', 'amount_too_large'),
    ('a(), hold(''more''), ''NaN''', 'UC422', 'amount_too_large'),
    ('a(), hold(''more''), 1, null, ''''', 'UC400', 'invalid_request'),
    ('a(), hold(''more''), 1, null, null, ''[]''', 'UC400', 'invalid_request')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
