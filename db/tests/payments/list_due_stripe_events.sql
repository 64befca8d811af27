-- The worker sees the events whose time has come, the longest due first; whoever received one has half a minute for it.
\ir ../payments.psql

create function due(p_limit int default 100) returns text language sql as
$$select string_agg(event_id, ' ') from billing.list_due_stripe_events(p_limit)$$;

select billing.record_stripe_event(stripe_event('evt_b', 'invoice.paid', '{}')) \g /dev/null
select billing.record_stripe_event(stripe_event('evt_0', 'customer.created', '{}')) \g /dev/null
set local tap.now = '2025-03-10 12:00:10+00';
select billing.record_stripe_event(stripe_event('evt_a', 'invoice.paid', '{}')) \g /dev/null
set local tap.now = '2025-03-10 12:00:29.999+00';
select is(due(), null, 'for half a minute an event is left to who received it');
set local tap.now = '2025-03-10 12:00:30+00';
select is(due(), 'evt_b', 'then it is due');
set local tap.now = '2025-03-10 12:00:40+00';
select is(due(), 'evt_b evt_a', 'the longest due first, and no ignored one');
select is(due(1), 'evt_b', 'as many as are asked for');
select billing.fail_stripe_event('evt_b', 'e') \g /dev/null
select is(due(), 'evt_a', 'one that failed waits');
set local tap.now = '2025-03-10 12:00:50+00';
select is(due(), 'evt_a evt_b', 'for its next attempt');
select billing.apply_stripe_event('evt_a') \g /dev/null
select rows_are(
    'select * from billing.list_due_stripe_events()',
    $$
    values (
        'evt_b', 'invoice.paid', 'pending', 1, 'e', '2025-03-10 12:00:50+00'::timestamptz,
        '2025-03-10 12:00+00'::timestamptz, '2025-03-10 12:00+00'::timestamptz, null::timestamptz, null::uuid
    )
    $$,
    'one that was applied is not due'
);
select throws_ok(
    format('select billing.list_due_stripe_events(%s)', page), 'UC422', 'limit_out_of_range', 'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
