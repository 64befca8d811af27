-- After a search that found nothing at Stripe, a call goes on under a fresh idempotency key.
\ir ../payments.psql

select billing.open_account(a()) \g /dev/null
select billing.request_customer(a()) \g /dev/null
create function id() returns uuid language sql as 'select call_id from billing.stripe_calls';

select billing.claim_stripe_call(id()) \g /dev/null
select billing.postpone_stripe_call(id(), 'an error of Stripe', true) \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
select billing.claim_stripe_call(id()) \g /dev/null
set local tap.now = '2025-03-11 12:00:05+00';
select rows_are(
    $$
    select call_id, idempotency_key, look_first, tries, first_tried_at, claimed_at, next_attempt_at, status
    from billing.renew_stripe_call(id())
    $$,
    $$
    values (
        id(), format('credit-billing-%s-2', id()), false, 2, '2025-03-11 12:00:05+00'::timestamptz,
        '2025-03-11 12:00+00'::timestamptz, '2025-03-11 12:02+00'::timestamptz, 'pending'
    )
    $$,
    'the key is a new one, first used now, and nothing is uncertain; who has the call keeps it as long as before'
);
select is((billing.claim_stripe_call(id())).call_id, null, 'nobody else has it');
select is(
    (billing.renew_stripe_call(id())).idempotency_key, format('credit-billing-%s-2', id()),
    'another search that comes to its end later does not renew it again: the key may be in use'
);
set local tap.now = '2025-03-12 11:00:06+00';
select is(
    (billing.renew_stripe_call(id())).idempotency_key, format('credit-billing-%s-3', id()), 'after 23 hours it may'
);
select billing.finish_stripe_call(id(), '{"id": "cus_a"}') \g /dev/null
select rows_are(
    'select status, idempotency_key from billing.renew_stripe_call(id())',
    $$values ('done', format('credit-billing-%s-3', id()))$$, 'a call that has ended stays as it is'
);
select throws_ok(
    format('select billing.renew_stripe_call(%L)', call), 'UC404', 'call_not_found',
    'there is no call ' || coalesce(call, 'null')
)
from unnest(array[nobody()::text, null]) call;

select * from finish();
rollback;
