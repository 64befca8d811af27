-- The balance over time, at equal distances, each as balance_at tells it.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
set local tap.now = '2025-03-10 13:00+00';
select billing.grant_credits(a(), 10, 'promotion', p_expires_at => '2025-03-10 15:30+00') \g /dev/null
set local tap.now = '2025-03-10 14:00+00';
select billing.deduct_credits(a(), 2) \g /dev/null
set local tap.now = '2025-03-10 17:00+00';

select rows_are(
    $$select at, balance from billing.balance_history(a(), '2025-03-10 11:00+00', '2025-03-10 16:00+00', 6)$$,
    $$
    values ('2025-03-10 11:00+00'::timestamptz, 0), ('2025-03-10 12:00+00', 5), ('2025-03-10 13:00+00', 15),
        ('2025-03-10 14:00+00', 13), ('2025-03-10 15:00+00', 13), ('2025-03-10 16:00+00', 3)
    $$,
    'from the first moment to the last, in order, as if settled'
);
select is(
    (select count(*) from billing.balance_history(a(), '2025-03-10 11:00+00', '2025-03-10 16:00+00')), 60::bigint,
    '60 points, unless told'
);
select rows_are(
    $$select at, balance from billing.balance_history(a(), '2025-03-10 12:30+00', '2025-03-10 13:30+00', 2)$$,
    $$values ('2025-03-10 12:30+00'::timestamptz, 5), ('2025-03-10 13:30+00', 15)$$, 'two are the ends'
);
select rows_are(
    $$select at, balance from billing.balance_history(a(), '2025-03-31 23:00+00', '2025-04-01 01:00+00', 3)$$,
    $$values ('2025-03-31 23:00+00'::timestamptz, 3), ('2025-04-01 00:00+00', 0), ('2025-04-01 01:00+00', 0)$$,
    'times ahead are what will be left'
);
set local timezone = 'Europe/Berlin';
select rows_are(
    $$select at from billing.balance_history(a(), '2025-03-29 00:00+00', '2025-04-01 00:00+00', 4)$$,
    $$select generate_series(0, 3) * interval '24 hours' + '2025-03-29 00:00+00'::timestamptz$$,
    'a day has 24 hours, whatever the session''s clocks do'
);
reset timezone;
select is(
    (select max(at) from billing.balance_history(a(), '0001-01-01 00:00+00', '9999-12-31 23:59:59.999999+00', 500)),
    '9999-12-31 23:59:59.999999+00', 'the last moment is exact'
);

-- Enough entries for the planner to have a choice.
select count(*)
from generate_series(1, 3000) n cross join lateral billing.deduct_credits(a(), 0.0001 * (n / n)) \g /dev/null
set local role billing_owner;
analyze billing.credit_ledger;
reset role;
-- Beside the account's row, of which this transaction leaves many versions.
select cmp_ok(
    pages_read($$select billing.balance_history(a(), '2025-03-10 12:00+00', '2025-03-10 16:00+00', 10)$$)
        - pages_read('select billing_private.read_account(a())') * 10,
    '<', 10 * 60, 'a point early in a long ledger reads no more than one at its end'
);

select throws_ok('select billing.balance_history(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null, now(), now() + ''1 day''', 'UC400', 'invalid_request'),
    ('a(), null, now()', 'UC400', 'invalid_request'),
    ('a(), now(), null', 'UC400', 'invalid_request'),
    ('a(), now(), now()', 'UC400', 'invalid_request'),
    ('a(), now(), ''infinity''', 'UC400', 'invalid_request'),
    ('a(), ''-infinity'', now()', 'UC400', 'invalid_request'),
    ('a(), now(), now() + ''1 day'', 1', 'UC400', 'invalid_request'),
    ('a(), now(), now() + ''1 day'', 501', 'UC400', 'invalid_request'),
    ('a(), now(), now() + ''1 day'', null', 'UC400', 'invalid_request'),
    ('nobody(), now(), now() + ''1 day''', 'UC404', 'account_not_found')
) c (arguments, code, name);
select lives_ok('select billing.balance_history(a(), now(), now() + ''1 day'', 500)', 'at most 500 points');

select * from finish();
rollback;
