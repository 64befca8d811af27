-- A deduction takes exactly what was asked, once per key, or refuses, changes nothing and leaves a trace.
\ir ../setup.psql

select billing.bootstrap_super_admin(admin()) \g /dev/null
select billing.open_account(a()) \g /dev/null

select is(
    billing.deduct_credits(a(), 0.123456789),
    (true, 2, 0.123456789, 4.876543211, 4.876543211, null, false)::billing.deduction,
    'R02: nine decimal places are taken as they are'
);
select rows_are(
    $$
    select l.amount, l.balance_after, a.balance, a.used_total
    from billing.credit_ledger l join billing.credit_accounts a using (user_id)
    where user_id = a() and entry_no = 2
    $$,
    'values (-0.123456789, 4.876543211, 4.876543211, 0.123456789)',
    'R02: ledger and balance agree'
);
select is(
    billing.deduct_credits(a(), 0.001), (true, 3, 0.001, 4.875543211, 4.875543211, null, false)::billing.deduction,
    'R01: a call under half a cent is not free'
);
select is(
    billing.deduct_credits(a(), 0.000000001),
    (true, 4, 0.000000001, 4.87554321, 4.87554321, null, false)::billing.deduction, 'R01: nor is the smallest one'
);

-- Keys.

select is(
    billing.deduct_credits(a(), 1, 'a call', 'call', 'c1', 'key', '{"tokens": 7}'),
    (true, 5, 1, 3.87554321, 3.87554321, null, false)::billing.deduction, 'a deduction with everything'
);
select rows_are(
    $$
    select type, amount, balance_after, used_after, operation, idempotency_key, reference_type, reference_id,
        description, metadata, actor, created_at, grant_no, reversed_entry_no
    from billing.credit_ledger where user_id = a() and entry_no = 5
    $$,
    $$
    values (
        'usage', -1::numeric, 3.87554321, 1.12445679, 'deduct_credits', 'key', 'call', 'c1', 'a call',
        '{"tokens": 7}'::jsonb, null::uuid, '2025-03-10 12:00+00'::timestamptz, null::bigint, null::bigint
    )
    $$,
    'all of it is in the entry'
);
select billing.deduct_credits(a(), 0.87554321) \g /dev/null
select is(
    billing.deduct_credits(a(), 1.000, 'another text', 'call', 'c1', 'key', '{"tokens": 8}'),
    (true, 5, 1, 3.87554321, 3, null, true)::billing.deduction,
    'R06: the same request is replayed, whatever its text and metadata, with what is available by then'
);
select is((select entry_count from billing.credit_accounts where user_id = a()), 6::bigint, 'R06: and has no second effect');
select throws_ok('select billing.deduct_credits(' || arguments || ')', 'UC409', 'idempotency_key_reused', difference)
from (values
    ('a(), 2, null, ''call'', ''c1'', ''key''', 'another amount is another request'),
    ('a(), 1.000000001, null, ''call'', ''c1'', ''key''', 'to the ninth place'),
    ('a(), 1, null, ''call'', ''c2'', ''key''', 'another reference_id too'),
    ('a(), 1, null, ''job'', ''c1'', ''key''', 'another reference_type too'),
    ('a(), 1, null, null, null, ''key''', 'and none')
) c (arguments, difference);
select is(
    (billing.deduct_tokens(a(), 'gpt-4o', 100000, 0, p_idempotency_key => 'key')).replayed, false,
    'a key belongs to its function'
);
select billing.open_account(b()) \g /dev/null
select is(
    billing.deduct_credits(b(), 2, p_idempotency_key => 'key'),
    (true, 2, 2, 3, 3, null, false)::billing.deduction, 'and to its user'
);
set local tap.now = '2030-01-01 00:00+00';
select is(
    (billing.deduct_credits(a(), 1, null, 'call', 'c1', 'key')).replayed, true, 'and is known for ever'
);

-- Refusals.

set local tap.now = '2025-03-10 12:00+00';
select billing.open_account(c()) \g /dev/null
select is(
    billing.deduct_credits(c(), 5.000000001, 'too much', 'call', 'c2', 'refused', '{"tokens": 9}'),
    (false, 2, 0, 5, 5, 'insufficient_credits', false)::billing.deduction, 'more than there is is refused'
);
select rows_are(
    $$
    select type, amount, balance_after, used_after, idempotency_key, reference_type, reference_id, description, metadata
    from billing.credit_ledger where user_id = c() and entry_no = 2
    $$,
    $$
    values (
        'usage', 0::numeric, 5.00, 0::numeric, null, 'call', 'c2', 'too much', jsonb_build_object(
            'tokens', 9, 'refused', 'insufficient_credits', 'asked', 5.000000001, 'available', 5.00,
            'idempotency_key', 'refused'
        )
    )
    $$,
    'R04: and leaves an entry of 0 that says what was asked, and why not'
);
select is(
    (select (balance, held, used_total)::text from billing.credit_accounts where user_id = c()), '(5.00,0,0)',
    'R03: and the balance stays'
);
select is(
    billing.deduct_credits(c(), 5, null, 'call', 'c2', 'refused'),
    (true, 3, 5, 0, 0, null, false)::billing.deduction, 'a refusal binds no key, and the last credit can be spent'
);
select is(
    billing.deduct_credits(c(), 0.000000001), (false, 4, 0, 0, 0, 'insufficient_credits', false)::billing.deduction,
    'R03: below zero there is nothing'
);
select is(
    billing.deduct_credits(c(), 1000000000000), (false, 5, 0, 0, 0, 'insufficient_credits', false)::billing.deduction,
    'the largest amount is an amount'
);

select billing.grant_credits(c(), 10, 'promotion') \g /dev/null
select billing.hold_credits(c(), 4) \g /dev/null
select is(
    billing.deduct_credits(c(), 6.000000001), (false, 7, 0, 10, 6, 'insufficient_credits', false)::billing.deduction,
    'held credits are not spent'
);
select is(
    billing.deduct_credits(c(), 6), (true, 8, 6, 4, 0, null, false)::billing.deduction, 'the others are'
);
select billing.set_account_status(admin(), c(), 'frozen', 'r') \g /dev/null
select is(
    billing.deduct_credits(c(), 1), (false, 9, 0, 4, 0, 'account_frozen', false)::billing.deduction,
    'a frozen account spends nothing'
);
select is(
    (billing.deduct_credits(c(), 5, null, 'call', 'c2', 'refused')).replayed, true,
    'but a retry of what was done before is told'
);
set local tap.now = '2025-03-10 13:00+00';
select billing.set_account_status(admin(), c(), 'closed', 'r') \g /dev/null
select is(
    billing.deduct_credits(c(), 1), (false, 10, 0, 4, 4, 'account_closed', false)::billing.deduction,
    'nor does a closed one'
);
select is(
    (select metadata ->> 'refused' from billing.credit_ledger where user_id = c() and entry_no = 10), 'account_closed',
    'each with its reason in the entry'
);

-- Expiry.

set local tap.now = '2025-03-10 12:00+00';
select billing.open_account(d()) \g /dev/null
select billing.grant_credits(d(), 3, 'promotion') \g /dev/null
select billing.deduct_credits(d(), 1) \g /dev/null
set local tap.now = '2025-03-31 23:59:59.999999+00';
select is((billing.deduct_credits(d(), 1)).balance_after, 6.00, 'until a lot ends it is spent');
set local tap.now = '2025-04-01 00:00+00';
update billing.credit_accounts set granted_through = '2025-04-01' where user_id = d();
select is(
    billing.deduct_credits(d(), 3.000000001), (false, 6, 0, 3, 3, 'insufficient_credits', false)::billing.deduction,
    'R25: from then on it is not'
);
select rows_are(
    $$select type, amount, grant_no, created_at from billing.credit_ledger where user_id = d() and entry_no = 5$$,
    $$values ('expiry', -3.00, 1::bigint, '2025-04-01 00:00+00'::timestamptz)$$,
    'R25: what was left of it is an entry, and the other lot is not touched'
);
select is(
    billing.deduct_credits(d(), 3), (true, 7, 3, 0, 0, null, false)::billing.deduction, 'R25: which can still be spent'
);
set local tap.now = '2025-03-20 00:00+00';
select billing.deduct_credits(d(), 1) \g /dev/null
select is(
    (select max(created_at) from billing.credit_ledger where user_id = d()), '2025-04-01 00:00+00',
    'a clock that goes back does not put an entry before another'
);

-- Requests that are none.

select throws_ok('select billing.deduct_credits(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, 1', 'UC400', 'invalid_request'),
    ('a(), null', 'UC400', 'invalid_request'),
    ('nobody(), 1', 'UC404', 'account_not_found'),
    ('a(), 0', 'UC422', 'amount_not_positive'),
    ('a(), -1', 'UC422', 'amount_not_positive'),
    ('a(), ''-infinity''', 'UC422', 'amount_not_positive'),
    ('a(), 0.0000000001', 'UC422', 'amount_too_precise'),
    ('a(), 1.1234567891', 'UC422', 'amount_too_precise'),
    ('a(), 1000000000000.000000001', 'UC422', 'amount_too_large'),
    ('a(), ''NaN''', 'UC422', 'amount_too_large'),
    ('a(), ''infinity''', 'UC422', 'amount_too_large'),
    ('a(), 1, p_idempotency_key => ''''', 'UC400', 'invalid_request'),
    ('a(), 1, p_idempotency_key => repeat(''k'', 201)', 'UC400', 'invalid_request'),
    ('a(), 1, p_reference_type => repeat(''k'', 201)', 'UC400', 'invalid_request'),
    ('a(), 1, p_reference_id => repeat(''k'', 201)', 'UC400', 'invalid_request'),
    ('a(), 1, p_description => repeat(''k'', 2001)', 'UC400', 'invalid_request'),
    ('a(), 1, p_metadata => ''[1]''', 'UC400', 'invalid_request'),
    ('a(), 1, p_metadata => ''null''', 'UC400', 'invalid_request'),
    ('a(), 1, p_metadata => jsonb_build_object(''k'', repeat(''k'', 16384))', 'UC400', 'invalid_request')
) c (arguments, code, name);
select is((select entry_count from billing.credit_accounts where user_id = a()), 8::bigint, 'they leave no entry');
select billing.grant_credits(a(), 2, 'promotion') \g /dev/null
select lives_ok(
    $$
    select billing.deduct_credits(
        a(), 1, repeat('d', 2000), repeat('t', 200), repeat('i', 200), repeat('k', 200),
        jsonb_build_object('k', repeat('k', 16000))
    )
    $$,
    'the longest texts are fine'
);
select lives_ok($$select billing.deduct_credits(a(), 0.1, '', '', '')$$, 'empty ones are texts');
-- Nobody is refused for credits that the month owes, and that the job has not come to.

set local tap.now = '2025-06-30 23:00+00';
select billing.open_account(e()) \g /dev/null
select billing.deduct_credits(e(), 5) \g /dev/null
select is((billing.deduct_credits(e(), 1)).reason, 'insufficient_credits', 'what is spent is spent');
set local tap.now = '2025-07-01 00:00+00';
select rows_are(
    $$select success, entry_no, amount, balance_after, reason from billing.deduct_credits(e(), 1, p_idempotency_key => 'k')$$,
    $$values (true, 5::bigint, 1, 4, null::text)$$, 'the next month''s are granted by the first deduction of it'
);
select is((billing.deduct_credits(e(), 1, p_idempotency_key => 'k')).replayed, true, 'which is one, however often it is sent');
select is(
    billing.deduct_credits(e(), 4.1), (false, 6, 0, 4, 4, 'insufficient_credits', false)::billing.deduction,
    'and there is no more than they are'
);
select is((billing.grant_monthly_credits()).rows > 0, true, 'the job comes later');
select is(
    (select count(*) from billing.credit_ledger where user_id = e() and type = 'tier_grant'), 2::bigint,
    'and grants nothing twice'
);
set local tap.now = '2025-08-01 00:00+00';
update billing.credit_accounts set status = 'frozen' where user_id = e();
select is((billing.deduct_credits(e(), 1)).reason, 'account_frozen', 'a frozen account is granted nothing by it');
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
