-- One worker at a time has an event, for two minutes; and only the oldest of its user.
\ir ../setup.psql

select billing.set_job('deliver_events', true) \g /dev/null
select billing.open_account(a()) \g /dev/null
select billing.deduct_credits(a(), 4.5) \g /dev/null
create function event(p_no bigint) returns uuid language sql as
$$select event_id from billing.billing_events where user_id = a() and event_no = p_no$$;
create function claim(p_no bigint) returns billing.event language sql as
$$select billing.claim_event(a(), event(p_no))$$;

select rows_are(
    'select event_no, kind, status, attempts, next_attempt_at, payload ->> ''amount'' from claim(1)',
    $$values (1, 'credits.granted', 'pending', 0, '2025-03-10 12:02+00'::timestamptz, '5')$$,
    'who claims it gets all of it, and two minutes'
);
select is((claim(1)).event_id, null, 'nobody else gets it');
set local tap.now = '2025-03-10 12:01:59.999999+00';
select is((claim(1)).event_id, null, 'for two minutes');
set local tap.now = '2025-03-10 12:02+00';
select is((claim(1)).event_no, 1::bigint, 'then whoever asks: it may be delivered twice, and is never lost');
select is((claim(2)).event_id, null, 'it is not the second one''s turn');
select billing.finish_event(a(), event(1)) \g /dev/null
select is((claim(2)).event_no, 2::bigint, 'until the first was delivered');
select is((claim(1)).event_id, null, 'which is not delivered again');
select throws_ok(
    format('select billing.claim_event(%s, %s)', user_id, event_id), 'UC404', 'event_not_found', what
)
from (values
    ('a()', 'nobody()', 'there is no such event'), ('b()', 'event(2)', 'nor is it another user''s'),
    ('a()', 'null', 'nor no event'), ('null', 'event(2)', 'nor one of nobody')
) c (user_id, event_id, what);

select * from finish();
rollback;
