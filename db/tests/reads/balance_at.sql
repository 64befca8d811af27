-- The balance at any time, as if settled at that time.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
set local tap.now = '2025-03-10 13:00+00';
select billing.grant_credits(a(), 10, 'promotion', p_expires_at => '2025-03-15 00:00+00') \g /dev/null
set local tap.now = '2025-03-10 14:00+00';
select billing.deduct_credits(a(), 2) \g /dev/null
set local tap.now = '2025-03-10 15:00+00';
select billing.deduct_credits(a(), 1000) \g /dev/null

create temp table expected as
select at::timestamptz, balance, what
from (values
    ('2025-03-10 11:59:59.999999+00', 0, 'before the account was opened there is nothing'),
    ('2025-03-10 12:00+00', 5, 'from its opening on its first grant'),
    ('2025-03-10 12:59:59.999999+00', 5, 'until the next entry'),
    ('2025-03-10 13:00+00', 15, 'which counts from its time'),
    ('2025-03-10 14:30+00', 13, 'between two entries'),
    ('2025-03-10 15:00+00', 13, 'a refusal changes nothing'),
    ('2025-03-14 23:59:59.999999+00', 13, 'until a lot ends'),
    ('2025-03-15 00:00+00', 3, 'it is there, and then not'),
    ('2025-04-01 00:00+00', 0, 'as the next one'),
    ('infinity', 0, 'in the end nothing is left')
) e (at, balance, what);
select is(billing.balance_at(a(), at), balance::numeric, 'ahead: ' || what) from expected;

-- The same, when expiries have been booked, later than they were due.
set local tap.now = '2025-05-01 00:00+00';
select billing.grant_credits(a(), 1, 'promotion', p_expires_at => '2025-05-02 00:00+00') \g /dev/null
select is(billing.balance_at(a(), at), balance::numeric, 'looking back: ' || what) from expected where at < '2025-05-01';
select is(billing.balance_at(a(), '2025-05-01 00:00+00'), 1.00, 'and the newest entry');

select throws_ok('select billing.balance_at(a(), null)', 'UC400', 'invalid_request', 'a time must be given');
select throws_ok('select billing.balance_at(null, now())', 'UC400', 'invalid_request', 'and a user');
select throws_ok('select billing.balance_at(nobody(), now())', 'UC404', 'account_not_found', 'who has an account');

select * from finish();
rollback;
