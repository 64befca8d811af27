-- The worker sees the calls whose time has come, the longest due first; whoever recorded one has half a minute for it.
\ir ../payments.psql

select billing.open_account(u) from unnest(array[a(), b(), c()]) u \g /dev/null
create function due(p_limit int default 100) returns text language sql as $$
    select string_agg(right(user_id::text, 1) || ':' || kind, ' ') from billing.list_due_stripe_calls(p_limit)
$$;
create function id(p_user_id uuid) returns uuid language sql as
$$select call_id from billing.stripe_calls where user_id = p_user_id order by call_id desc limit 1$$;

select billing.request_customer(a()) \g /dev/null
set local tap.now = '2025-03-10 12:00:10+00';
select billing.request_customer(b()) \g /dev/null
set local tap.now = '2025-03-10 12:00:29.999+00';
select is(due(), null, 'for half a minute a call is left to who recorded it');
set local tap.now = '2025-03-10 12:00:30+00';
select is(due(), 'a:customer', 'then it is due');
set local tap.now = '2025-03-10 12:00:40+00';
select is(due(), 'a:customer b:customer', 'the longest due first');
select is(due(1), 'a:customer', 'as many as are asked for');
select billing.claim_stripe_call(id(a())) \g /dev/null
select is(due(), 'b:customer', 'one that somebody has is not due');
set local tap.now = '2025-03-10 12:02:40+00';
select is(due(), 'b:customer a:customer', 'until its two minutes are over');
select rows_are(
    'select * from billing.list_due_stripe_calls(1)',
    $$
    values (
        id(b()), b(), 'customer', b()::text, jsonb_build_object('user_id', b()), null, 'pending',
        format('credit-billing-%s-1', id(b())), false, 0, null::timestamptz, null::timestamptz,
        '2025-03-10 12:00:40+00'::timestamptz, null, '2025-03-10 12:00:10+00'::timestamptz
    )
    $$,
    'a call is listed as a claim would tell it'
);
select billing.finish_stripe_call(id(a()), '{"id": "cus_a"}') \g /dev/null
select billing.fail_stripe_call(id(b()), 'no') \g /dev/null
select is(due(), null, 'what has ended is not due');

select throws_ok(
    format('select billing.list_due_stripe_calls(%s)', page), 'UC422', 'limit_out_of_range', 'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
