-- An account has a threshold of its own; setting it is told nobody and moves no credits.
\ir ../setup.psql

create function armed() returns numeric language sql as
$$select alert_below from billing.credit_accounts where user_id = a()$$;
select billing.open_account(a()) \g /dev/null
create temp table before as select * from billing.credit_accounts where user_id = a();
set local tap.now = '2025-03-10 13:00+00';

select is(
    billing.set_low_balance(a(), 2.000000001), (a(), 2.000000001, false, 0.01)::billing.notifications, 'its own threshold'
);
select is(armed(), 2.000000001, 'is what is compared');
select rows_are(
    $$
    select to_jsonb(a) - array['low_balance', 'alert_below', 'updated_at'], a.updated_at
    from billing.credit_accounts a where user_id = a()
    $$,
    $$
    select to_jsonb(b) - array['low_balance', 'alert_below', 'updated_at'], '2025-03-10 13:00+00'::timestamptz
    from before b
    $$,
    'nothing else of the account changes'
);
select is(
    billing.set_low_balance(a(), 5), (a(), 5, false, 0.01)::billing.notifications, 'the whole balance can be the threshold'
);
select is(armed(), 5.0, 'and is armed: it is not below it');
select billing.set_low_balance(a(), 5.000000001) \g /dev/null
select is(armed(), 0.01, 'below one that is higher it is already: what comes next is depleted');
select is(
    billing.set_low_balance(a(), 0), (a(), 0, false, 0.01)::billing.notifications, '0 is never'
);
select is(armed(), 0.01, 'depleted is told all the same');
select billing.set_low_balance(a(), 0.01) \g /dev/null
select is(armed(), 0.01, 'a threshold that is that of depleted is told as depleted');
select is(
    billing.set_low_balance(a(), null), (a(), 1, true, 0.01)::billing.notifications, 'null takes the default again'
);
select is(armed(), 1.0, 'which is armed');
select billing.deduct_credits(a(), 5) \g /dev/null
select is(armed(), null, 'all of it was told');
select billing.set_low_balance(a(), 3) \g /dev/null
select is(armed(), null, 'an empty account has nothing more to tell');
select is(
    (select string_agg(kind, ' ' order by event_no) from billing.billing_events where user_id = a()),
    'credits.granted balance.low balance.depleted', 'and setting it told nothing'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select throws_ok(
    format('select billing.set_low_balance(%s)', arguments), code, name, name || ': ' || arguments
)
from (values
    ('null, 1', 'UC400', 'invalid_request'),
    ('nobody(), 1', 'UC404', 'account_not_found'),
    ('a(), -1', 'UC422', 'amount_not_positive'),
    ('a(), 0.0000000001', 'UC422', 'amount_too_precise'),
    ('a(), 1000000000000.1', 'UC422', 'amount_too_large'),
    ('a(), ''NaN''', 'UC422', 'amount_too_large'),
    ('a(), ''infinity''', 'UC422', 'amount_too_large')
) c (arguments, code, name);
insert into legacy_billing.customers (user_id) values (b());
select throws_ok('select billing.set_low_balance(b(), 1)', 'UC409', 'not_migrated', 'and live here');

select * from finish();
rollback;
