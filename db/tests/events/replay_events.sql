-- Dead events are delivered again when somebody says so; so are kept and delivered ones, of one user or all.
\ir ../setup.psql

select billing.set_job('deliver_events', true) \g /dev/null
select billing.open_account(u) from unnest(array[a(), b()]) u \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
select billing.deduct_credits(u, 5) from unnest(array[a(), b()]) u \g /dev/null
create function event(p_user_id uuid, p_no bigint) returns uuid language sql as
$$select event_id from billing.billing_events where user_id = p_user_id and event_no = p_no$$;
create function states(p_user_id uuid) returns text language sql as $$
    select string_agg(
        concat_ws(' ', status, to_char(next_attempt_at at time zone 'UTC', 'DD HH24:MI')), ', ' order by event_no
    )
    from billing.billing_events where user_id = p_user_id
$$;
create function give_up(p_user_id uuid, p_no bigint) returns void language sql as
$$select billing.fail_event(p_user_id, event(p_user_id, p_no), 'e') from generate_series(1, 11)$$;
-- Each user: 1 granted (dead), 2 low (delivered), 3 depleted (waits).
select give_up(u, 1) from unnest(array[a(), b()]) u \g /dev/null
select billing.finish_event(u, event(u, 2)) from unnest(array[a(), b()]) u \g /dev/null
select is(states(a()), 'dead, delivered, pending 11 12:00', 'one was given up, one waits');

set local tap.now = '2025-03-12 12:00+00';
select is(billing.replay_events('dead', a()), ('pending', 1)::billing.event_count, 'the dead one of a user');
select rows_are(
    'select status, attempts, next_attempt_at, error, delivered_at from billing.list_events(a()) where event_no = 1',
    $$values ('pending', 0, '2025-03-12 12:00+00'::timestamptz, null, null::timestamptz)$$,
    'is tried as if it were new'
);
select is(
    states(a()), 'pending 12 12:00, delivered, pending', 'before what waits already: the order is that of their numbers'
);
select is(states(b()), 'dead, delivered, pending 11 12:00', 'another user''s are not touched');
select is(
    billing.replay_events(), ('pending', 1)::billing.event_count,
    'the dead ones of all is what it does by itself'
);
select is(billing.replay_events(), ('pending', 0)::billing.event_count, 'until there is none');
select is(states(b()), 'pending 12 12:00, delivered, pending', 'the other user''s wait too');

-- What a receiver has lost.

select is(
    billing.replay_events('delivered', a(), p_kind => 'balance.depleted'), ('pending', 0)::billing.event_count,
    'of a kind that was not delivered there is none'
);
select is(
    billing.replay_events('delivered', a(), p_from => '2025-03-11 12:00:00.000001+00'),
    ('pending', 0)::billing.event_count, 'nor after a time'
);
select is(
    billing.replay_events('delivered', a(), p_to => '2025-03-11 12:00+00'), ('pending', 0)::billing.event_count,
    'nor before it'
);
select is(
    billing.replay_events(
        'delivered', a(), '2025-03-11 12:00+00', '2025-03-11 12:00:00.000001+00', 'balance.low'
    ),
    ('pending', 1)::billing.event_count, 'delivered ones of a stretch of time and a kind'
);
select is(states(a()), 'pending 12 12:00, pending, pending', 'are delivered again, in their order');
select billing.set_job('deliver_events', false) \g /dev/null
select billing.open_account(c()) \g /dev/null
select is(states(c()), 'kept', 'what happened while delivery was off');
select is(billing.replay_events('kept'), ('pending', 1)::billing.event_count, 'can be delivered as well');

select throws_ok(
    format('select billing.replay_events(%L)', status), 'UC422', 'unknown_status', 'not what is ' || coalesce(status, 'null')
)
from unnest(array['lost', null]) status;
select throws_ok(
    format('select billing.replay_events(%L, p_kind => %L)', status, 'balance.low'), 'UC400', 'invalid_request',
    status || ' ones of everybody: they would be found again and again'
)
from unnest(array['pending', 'delivered']) status;

-- A receiver that is back need not be waited for.

select billing.fail_event(a(), event_id, 'gone') from billing.list_due_events() where user_id = a() \g /dev/null
select is(
    (select count(*) from billing.list_due_events() where user_id = a()), 0::bigint, 'what failed waits for its pause'
);
select is(billing.replay_events('pending', a()), ('pending', 3)::billing.event_count, 'and is tried at once');
select is((select count(*) from billing.list_due_events() where user_id = a()), 1::bigint, 'in its turn');

-- Five hundred users at a time.

insert into billing.billing_events (user_id, event_id, event_no, kind, payload, status, created_at)
select gen_random_uuid(), gen_random_uuid(), 1, 'balance.low', '{}', 'dead', tap.now
from generate_series(1, 501), (select current_setting('tap.now')::timestamptz as now) tap;
select is(billing.replay_events(), ('pending', 500)::billing.event_count, 'no call takes more than 500 users');
select is(billing.replay_events(), ('pending', 1)::billing.event_count, 'the next one goes on');
select is(
    (select count(*) from billing.billing_events where status = 'pending' and event_no = 1 and next_attempt_at is null),
    0::bigint, 'all of them are due'
);

select * from finish();
rollback;
