-- Events are listed newest first, of one status or all.
\ir ../payments.psql

create function listed(p_status text default null, p_limit int default 50) returns text language sql as
$$select string_agg(event_id, ' ') from billing.list_stripe_events(p_status, p_limit)$$;

select is(listed(), null, 'at first there is none');
select billing.record_stripe_event(stripe_event('evt_b', 'invoice.paid', '{}', '2025-03-10 11:00+00')) \g /dev/null
select billing.record_stripe_event(stripe_event('evt_a', 'customer.created', '{}', '2025-03-09 11:00+00')) \g /dev/null
set local tap.now = '2025-03-10 12:00:10+00';
select billing.record_stripe_event(stripe_event('evt_c', 'invoice.paid', '{}', '2025-03-08 11:00+00')) \g /dev/null
select billing.fail_stripe_event('evt_c', 'e') from generate_series(1, 12) \g /dev/null

select is(listed(), 'evt_c evt_a evt_b', 'the newest first, as they were received');
select is(listed(p_limit => 2), 'evt_c evt_a', 'as many as are asked for');
select is(
    listed('pending') || ', ' || listed('ignored') || ', ' || listed('failed'), 'evt_b, evt_a, evt_c', 'of one status'
);
select is(listed('processed'), null, 'which none may have');
select rows_are(
    $$select * from billing.list_stripe_events('failed')$$,
    $$
    values (
        'evt_c', 'invoice.paid', 'failed', 12, 'e', null::timestamptz, '2025-03-08 11:00+00'::timestamptz,
        '2025-03-10 12:00:10+00'::timestamptz, null::timestamptz, null::uuid
    )
    $$,
    'each with what went wrong'
);
select throws_ok(
    format('select billing.list_stripe_events(p_limit => %s)', page), 'UC422', 'limit_out_of_range',
    'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
