-- What was delivered is noted once, and the next event of its user follows.
\ir ../setup.psql

select billing.set_job('deliver_events', true) \g /dev/null
select billing.open_account(a()) \g /dev/null
select billing.deduct_credits(a(), 4.5) \g /dev/null
select billing.deduct_credits(a(), 0.5) \g /dev/null
create function event(p_no bigint) returns uuid language sql as
$$select event_id from billing.billing_events where user_id = a() and event_no = p_no$$;
create function states() returns text language sql as $$
    select string_agg(
        status || coalesce(to_char(next_attempt_at at time zone 'UTC', ' MI:SS'), ''), ', ' order by event_no
    )
    from billing.billing_events where user_id = a()
$$;
select is(states(), 'pending 00:00, pending, pending', 'three wait, one behind the other');

select billing.claim_event(a(), event(1)) \g /dev/null
select billing.fail_event(a(), event(1), 'e') \g /dev/null
set local tap.now = '2025-03-10 12:00:30+00';
select rows_are(
    'select event_no, status, attempts, next_attempt_at, error, delivered_at from billing.finish_event(a(), event(1))',
    $$values (1, 'delivered', 1, null::timestamptz, null, '2025-03-10 12:00:30+00'::timestamptz)$$,
    'it was delivered, at the second attempt'
);
select is(states(), 'delivered, pending 00:30, pending', 'the next one follows');
set local tap.now = '2025-03-10 12:00:40+00';
select is(
    (billing.finish_event(a(), event(1))).delivered_at, '2025-03-10 12:00:30+00', 'a second time changes nothing'
);
select is((billing.finish_event(a(), event(3))).status, 'delivered', 'a later one can be delivered before its turn');
select is(states(), 'delivered, pending 00:30, delivered', 'and the earlier one is still to come');
select billing.finish_event(a(), event(2)) \g /dev/null
select is(states(), 'delivered, delivered, delivered', 'all of them');
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select is(states(), 'delivered, delivered, delivered, pending 00:40', 'one that finds none before it is due at once');
select billing.set_job('deliver_events', false) \g /dev/null
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select is((billing.finish_event(a(), event(5))).status, 'kept', 'an event that is only kept was not delivered');
select throws_ok(
    'select billing.finish_event(a(), nobody())', 'UC404', 'event_not_found', 'the event must be one'
);
select throws_ok(
    'select billing.finish_event(b(), event(4))', 'UC404', 'event_not_found', 'of the user'
);

select * from finish();
rollback;
