-- The holds of an account, the newest first; overdue ones read as expired, though nothing has settled them.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
select billing.open_account(b()) \g /dev/null
select billing.hold_credits(b(), 1) \g /dev/null
select billing.hold_credits(a(), 1, '1 hour', 'first', 'k1') \g /dev/null
set local tap.now = '2025-03-10 12:01+00';
select billing.hold_credits(a(), 2, '15 minutes', 'second', 'k2') \g /dev/null
set local tap.now = '2025-03-10 12:02+00';
select billing.release_hold(a(), (billing.hold_credits(a(), 1, p_idempotency_key => 'k3')).hold_id) \g /dev/null

select rows_are(
    'select idempotency_key, status, amount, description from billing.list_holds(a())',
    $$values ('k2', 'active', 2::numeric, 'second'), ('k1', 'active', 1, 'first')$$, 'those that are active'
);
set local tap.now = '2025-03-10 12:16+00';
select rows_are(
    'select idempotency_key from billing.list_holds(a())', $$values ('k1')$$, 'an overdue one is not'
);
select rows_are(
    'select idempotency_key, status, ended_at from billing.list_holds(a(), false)',
    $$
    values ('k3', 'released', '2025-03-10 12:02+00'::timestamptz), ('k2', 'expired', '2025-03-10 12:16+00'),
        ('k1', 'active', null)
    $$,
    'all, as they are'
);
select is(
    (select status from billing.credit_holds where idempotency_key = 'k2'), 'active', 'looking does not settle'
);
select rows_are(
    'select idempotency_key from billing.list_holds(a(), null)', $$values ('k1')$$, 'null asks for those that are active'
);
select rows_are(
    $$
    select idempotency_key
    from billing.list_holds(a(), false, (select hold_id from billing.credit_holds where idempotency_key = 'k3'), 1)
    $$,
    $$values ('k2')$$, 'the next page begins below the last hold'
);
select throws_ok(
    'select billing.list_holds(a(), p_limit => 501)', 'UC422', 'limit_out_of_range', 'a page has at most 500'
);
select throws_ok('select billing.list_holds(null)', 'UC400', 'invalid_request', 'a user must be given');
select throws_ok(
    $$select billing.list_holds(nobody())$$, 'UC404', 'account_not_found',
    'the account must exist'
);

select * from finish();
rollback;
