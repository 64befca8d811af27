-- An account reads as if it were settled, and reading it writes nothing.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
select billing.grant_credits(a(), 2, 'promotion') \g /dev/null
select billing.hold_credits(a(), 3, '15 minutes') \g /dev/null
select billing.deduct_credits(a(), 1) \g /dev/null

select is(
    billing.get_account(a()),
    (
        a(), 'free', 'active', 6, 3, 3, 0, 1, 3, '2025-03-10 12:15+00', '2025-03-10 12:00+00', '2025-03-10 12:00+00',
        '2025-03-10 12:00+00'
    )::billing.account,
    'balance, held and what is available'
);
set local tap.now = '2025-03-10 12:14:59.999999+00';
select is((billing.get_account(a())).held, 3::numeric, 'a hold counts until it ends');
set local tap.now = '2025-03-10 12:15+00';
select is(
    (select (balance, held, available, next_expiry_at)::text from billing.get_account(a())),
    (6.00, 0, 6.00, '2025-04-01 00:00+00'::timestamptz)::text,
    'R26: a hold that nobody released stops counting when it ends'
);
set local tap.now = '2025-04-01 00:00+00';
select is(
    (select (balance, held, available, next_expiry_at)::text from billing.get_account(a())),
    (2.00, 0, 2.00, null::timestamptz)::text,
    'R25: expired credits are gone before anything has swept them, and the others are not'
);
select is(
    (select (balance, held, entry_count, settled_total)::text from billing.credit_accounts where user_id = a()),
    '(6.00,3,3,0)', 'the row is as it was'
);
set local tap.now = '2025-01-01 00:00+00';
select is((billing.get_account(a())).balance, 6.00, 'a clock that went back changes nothing');

select throws_ok('select billing.get_account(null)', 'UC400', 'invalid_request', 'a user must be given');
select throws_ok(
    $$select billing.get_account(b())$$, 'UC404', 'account_not_found',
    'the account must exist'
);

select * from finish();
rollback;
