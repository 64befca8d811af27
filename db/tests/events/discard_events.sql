-- What could not be delivered and is not to be is kept: nobody is told of it any more.
\ir ../setup.psql

select billing.set_job('deliver_events', true) \g /dev/null
select billing.open_account(a()), billing.open_account(b()), billing.open_account(c()) \g /dev/null
select billing.fail_event(user_id, event_id, 'gone')
from (select user_id, event_id from billing.list_due_events() where user_id in (a(), b())) e, generate_series(1, 11)
\g /dev/null
create function states() returns text language sql as $$
    select string_agg(right(user_id::text, 1) || ' ' || status, ', ' order by user_id) from billing.billing_events
$$;
select is(states(), 'a dead, b dead, c pending', 'two were given up, one waits');
select is(billing.discard_events(a()), ('kept', 1)::billing.event_count, 'those of one user');
select is(states(), 'a kept, b dead, c pending', 'are kept');
select is(billing.discard_events(), ('kept', 1)::billing.event_count, 'those of everybody');
select is(states(), 'a kept, b kept, c pending', 'and what waits goes on waiting');
select is(billing.discard_events(), ('kept', 0)::billing.event_count, 'then there is nothing left');
select is_empty('select * from billing.alert_undelivered_events where status = ''dead''', 'nor to be told');
select is(billing.replay_events('kept', a()), ('pending', 1)::billing.event_count, 'they can still be replayed');

select * from finish();
rollback;
