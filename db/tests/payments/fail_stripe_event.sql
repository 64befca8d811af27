-- An event that cannot be applied is tried again for some hours, then given up where everybody can see it.
\ir ../payments.psql

select billing.open_account(a()) \g /dev/null
select billing.record_stripe_event(
    stripe_event('evt_1', 'customer.subscription.created', stripe_subscription('sub_a', 'cus_a', 'tier_2_20'))
) \g /dev/null

select rows_are(
    $$
    select status, attempts, error, next_attempt_at, processed_at
    from billing.fail_stripe_event('evt_1', 'customer_not_found')
    $$,
    $$values ('pending', 1, 'customer_not_found', '2025-03-10 12:00:10+00'::timestamptz, null::timestamptz)$$,
    'the first time it is tried again at once'
);
create temp table failures as
select f.* from generate_series(2, 12) n cross join lateral billing.fail_stripe_event('evt_1', 'failure ' || n) f;
select is(
    (
        select string_agg(coalesce(extract(epoch from next_attempt_at - billing_private.clock())::int::text, status), ' '
            order by attempts)
        from failures
    ),
    '20 40 80 160 320 640 1280 2560 3600 3600 failed',
    'then after pauses that double up to an hour; at the twelfth it is given up'
);
select rows_are(
    $$select event_id, status, attempts, error from billing.list_stripe_events('failed')$$,
    $$values ('evt_1', 'failed', 12, 'failure 12')$$, 'it stays visible'
);
set local tap.now = '2025-03-17 12:00+00';
select is_empty('select * from billing.list_due_stripe_events()', 'and is not tried any more');
select rows_are(
    $$select status, attempts, error from billing.fail_stripe_event('evt_1', 'again')$$,
    $$values ('failed', 12, 'failure 12')$$, 'what was given up stays as it is'
);

-- Somebody mends what was wrong.

select customer(a(), 'cus_a') \g /dev/null
select rows_are(
    $$select status, attempts, error, next_attempt_at, processed_at from billing.apply_stripe_event('evt_1')$$,
    $$values ('processed', 12, null, null::timestamptz, '2025-03-17 12:00+00'::timestamptz)$$,
    'it can be applied by hand'
);
select rows_are(
    $$select status, attempts, error from billing.fail_stripe_event('evt_1', 'late')$$,
    $$values ('processed', 12, null)$$, 'a failure that is told later changes nothing'
);
select billing.record_stripe_event(stripe_event('evt_2', 'invoice.paid', '{}')) \g /dev/null
select is((billing.fail_stripe_event('evt_2', repeat('e', 3000))).error, repeat('e', 2000), 'an endless error is cut');
select throws_ok(
    format('select billing.fail_stripe_event(%L, ''e'')', event), 'UC404', 'event_not_found',
    'there is no event ' || coalesce(event, 'null')
)
from unnest(array['evt_none', null]) event;

select * from finish();
rollback;
