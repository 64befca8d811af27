-- A delivery that fails is tried again for about three days, while what follows waits; then it is given up, visibly.
\ir ../setup.psql

select billing.set_job('deliver_events', true) \g /dev/null
select billing.open_account(a()) \g /dev/null
select billing.deduct_credits(a(), 4.5) \g /dev/null
create function event(p_no bigint) returns uuid language sql as
$$select event_id from billing.billing_events where user_id = a() and event_no = p_no$$;

select rows_are(
    'select event_no, status, attempts, next_attempt_at, error from billing.fail_event(a(), event(1), ''503'')',
    $$values (1, 'pending', 1, '2025-03-10 12:00:05+00'::timestamptz, '503')$$,
    'the first time it is tried again at once'
);
create temp table failures as
select f.* from generate_series(2, 11) n cross join lateral billing.fail_event(a(), event(1), 'failure ' || n) f;
select is(
    (
        select string_agg(coalesce((next_attempt_at - billing_private.clock())::text, status), ', ' order by attempts)
        from failures
    ),
    '00:01:00, 00:05:00, 00:30:00, 02:00:00, 05:00:00, 10:00:00, 14:00:00, 20:00:00, 1 day, dead',
    'then after growing pauses, three days of them; after the tenth retry it is given up'
);
select rows_are(
    'select event_no, status, attempts, next_attempt_at, error from billing.list_events(a()) order by event_no',
    $$
    values (1, 'dead', 11, null::timestamptz, 'failure 11'),
        (2, 'pending', 0, '2025-03-10 12:00+00'::timestamptz, null)
    $$,
    'what waited for it goes on'
);
select rows_are(
    'select status, attempts, error from billing.fail_event(a(), event(1), ''again'')',
    $$values ('dead', 11, 'failure 11')$$, 'what was given up stays as it is'
);

-- What the receiver asks for.

select is(
    (billing.fail_event(a(), event(2), '429', '1 second')).next_attempt_at, '2025-03-10 12:00:05+00',
    'a receiver cannot shorten a pause'
);
select is(
    (billing.fail_event(a(), event(2), '429', '10 minutes')).next_attempt_at, '2025-03-10 12:10+00', 'but lengthen it'
);
select is(
    (billing.fail_event(a(), event(2), '429', '1 year')).next_attempt_at, '2025-03-11 12:00+00', 'to a day at most'
);
select is(
    (billing.fail_event(a(), event(2), '429', '-1 hour')).next_attempt_at, '2025-03-10 12:30+00',
    'a time gone by is none'
);
select is((billing.fail_event(a(), event(2), repeat('e', 3000))).error, repeat('e', 2000), 'an endless error is cut');
select billing.finish_event(a(), event(2)) \g /dev/null
select is(
    (billing.fail_event(a(), event(2), 'late')).status, 'delivered',
    'a failure that is told later changes nothing'
);
select throws_ok(
    format('select billing.fail_event(%s, ''e'')', event), 'UC404', 'event_not_found', 'there is no event ' || event
)
from unnest(array['a(), nobody()', 'b(), event(2)', 'a(), null']) event;

select * from finish();
rollback;
