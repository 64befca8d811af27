-- The worker sees the events whose time has come, the longest due first, and of each user only the oldest.
\ir ../setup.psql

create function due(p_limit int default 100) returns text language sql as
$$select string_agg(right(user_id::text, 1) || event_no, ' ') from billing.list_due_events(p_limit)$$;

select billing.open_account(c()) \g /dev/null
select is(due(), null, 'what is kept is not due');
select billing.set_job('deliver_events', true) \g /dev/null
select billing.open_account(b()) \g /dev/null
set local tap.now = '2025-03-10 12:00:01+00';
select billing.open_account(a()) \g /dev/null
select billing.deduct_credits(a(), 4.5) \g /dev/null
select billing.grant_credits(c(), 1, 'promotion') \g /dev/null
set local tap.now = '2025-03-10 12:00:00.999999+00';
select is(due(), 'b1', 'an event is due at once, and not before');
set local tap.now = '2025-03-10 12:00:01+00';
select matches(due(), '^b1 (a1 c2|c2 a1)$', 'the longest due first; the second of a user waits for the first');
select is(due(1), 'b1', 'as many as are asked for');
select billing.claim_event(user_id, event_id) from billing.list_due_events(1) \g /dev/null
select unalike(due(), '%b1%', 'one that somebody has is not due');
select billing.finish_event(user_id, event_id) from billing.list_events(a()) where event_no = 1 \g /dev/null
select alike(due(), '%a2%', 'once the first was delivered, the second is due');
set local tap.now = '2025-03-10 12:02:01+00';
select alike(due(), '%b1%', 'what somebody has kept for two minutes is due again');
select rows_are(
    'select * from billing.list_due_events() where user_id = a()',
    'select * from billing.list_events(a()) where event_no = 2', 'as list_events tells it'
);
select throws_ok(
    format('select billing.list_due_events(%s)', page), 'UC422', 'limit_out_of_range', 'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
