-- Whoever claims a call has it alone for two minutes; 23 hours after its key's first use, Stripe is to be searched first.
\ir ../payments.psql

select billing.open_account(a()) \g /dev/null
select billing.request_customer(a()) \g /dev/null
create function id(p_kind text default 'customer') returns uuid language sql as
$$select call_id from billing.stripe_calls where kind = p_kind order by call_id desc limit 1$$;
-- The call that is claimed: try, key, whether to look first; null when it was not to be had.
create function claims(p_kind text default 'customer') returns text language sql as $$
    select c.tries || replace(c.idempotency_key, c.call_id::text, '')
        || case when c.look_first then ' look first' else '' end
    from billing.claim_stripe_call(id(p_kind)) c
    where c.call_id is not null
$$;

select rows_are(
    'select * from billing.claim_stripe_call(id())',
    $$
    values (
        id(), a(), 'customer', a()::text, jsonb_build_object('user_id', a()), null, 'pending',
        format('credit-billing-%s-1', id()), false, 1, '2025-03-10 12:00+00'::timestamptz,
        '2025-03-10 12:00+00'::timestamptz, '2025-03-10 12:02+00'::timestamptz, null, '2025-03-10 12:00+00'::timestamptz
    )
    $$,
    'a claim tells what to do, under which key, and until when'
);
select rows_are(
    'select call_id, user_id, kind, status, tries from billing.claim_stripe_call(id())',
    'values (null::uuid, null::uuid, null, null, null::int)', 'for anybody else there is a row of nulls'
);
set local tap.now = '2025-03-10 12:01:59.999+00';
select is(claims(), null, 'for two minutes');
set local tap.now = '2025-03-10 12:02+00';
select is(claims(), '2credit-billing--1', 'then it can be had again, under the same key');
select is(claims(), null, 'by one');
select rows_are(
    'select tries, first_tried_at, claimed_at, next_attempt_at from billing.stripe_calls',
    $$
    values (2, '2025-03-10 12:00+00'::timestamptz, '2025-03-10 12:02+00'::timestamptz, '2025-03-10 12:04+00'::timestamptz)
    $$,
    'when the key was first used stays'
);

-- Stripe forgets a key.

set local tap.now = '2025-03-11 11:00+00';
select is(claims(), '3credit-billing--1', '23 hours after its first use the key is good');
set local tap.now = '2025-03-11 11:02:00.001+00';
select is(claims(), '4credit-billing--1 look first', 'after that, whether it was done is to be looked up first');
select billing.postpone_stripe_call(id(), 'a time-out') \g /dev/null
select is(claims(), '5credit-billing--1 look first', 'however often it is tried');
select billing.renew_stripe_call(id()) \g /dev/null
select billing.postpone_stripe_call(id(), 'a time-out') \g /dev/null
select is(claims(), '6credit-billing--2', 'until it has a fresh key');
select billing.postpone_stripe_call(id(), 'an error of Stripe', true) \g /dev/null
select is(claims(), '7credit-billing--2 look first', 'or when a try may have had its effect and its key is spent');

-- What has ended, and what is none.

select billing.finish_stripe_call(id(), '{"id": "cus_a"}') \g /dev/null
set local tap.now = '2025-03-12 12:00+00';
select is(claims(), null, 'a call that is done is nobody''s');
select call_id from billing.request_sync(a()) \g /dev/null
select is(
    (select stripe_customer_id from billing.claim_stripe_call(id('subscriptions'))), 'cus_a',
    'a claim tells the customer at Stripe, where there is one'
);
select billing.fail_stripe_call(id('subscriptions'), 'no') \g /dev/null
select is(claims('subscriptions'), null, 'nor is one that failed');
select throws_ok(
    format('select billing.claim_stripe_call(%L)', call), 'UC404', 'call_not_found',
    'there is no call ' || coalesce(call, 'null')
)
from unnest(array[nobody()::text, null]) call;

select * from finish();
rollback;
