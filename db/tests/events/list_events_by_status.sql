-- Events of all users that are kept, wait, were delivered or given up, newest first, page by page.
\ir ../setup.psql

select billing.open_account(c()) \g /dev/null
select billing.set_job('deliver_events', true) \g /dev/null
select billing.open_account(a()) \g /dev/null
set local tap.now = '2025-03-10 12:01+00';
select billing.open_account(b()) \g /dev/null
set local tap.now = '2025-03-10 12:02+00';
select billing.grant_credits(b(), 1, 'promotion') \g /dev/null
create function listed(p_status text, p_before timestamptz default null, p_limit int default 50) returns text
language sql as $$
    select string_agg(right(user_id::text, 1) || event_no, ' ')
    from billing.list_events_by_status(p_status, p_before, p_limit)
$$;
select is(listed('kept'), 'c1', 'kept');
select is(listed('pending'), 'b2 b1 a1', 'those that wait, of all users, newest first');
select is(listed('delivered'), null, 'none was delivered');
select is(listed('pending', null, 2), 'b2 b1', 'a page');
select is(listed('pending', '2025-03-10 12:01+00', 2), 'a1', 'and the one after it');
select billing.fail_event(b(), event_id, 'gone') from billing.list_events(b()), generate_series(1, 11)
where event_no = 1 \g /dev/null
select rows_are(
    'select * from billing.list_events_by_status()',
    $$select * from billing.list_events(b()) where event_no = 1 and status = 'dead' and error = 'gone'$$,
    'by itself it lists what was given up, and why'
);
select billing.finish_event(b(), event_id) from billing.list_events(b()) where event_no = 2 \g /dev/null
select is(listed('delivered'), 'b2', 'delivered');
select throws_ok(
    format('select billing.list_events_by_status(%L)', status), 'UC422', 'unknown_status',
    'there is no status ' || coalesce(status, 'null')
)
from unnest(array['lost', null]) status;
select throws_ok(
    format('select billing.list_events_by_status(p_limit => %s)', page), 'UC422', 'limit_out_of_range',
    'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
