-- A webhook event is stored before it is applied, once, whatever it is; what means nothing to us is stored as ignored.
\ir ../payments.psql

set local tap.now = '2025-03-10 12:00:05+00';
select rows_are(
    $$
    select * from billing.record_stripe_event(
        stripe_event('evt_1', 'invoice.paid', '{"id": "in_1", "customer": "cus_a"}', '2025-03-10 12:00+00')
    )
    $$,
    $$
    values (
        'evt_1', 'invoice.paid', 'pending', 0, null, '2025-03-10 12:00:35+00'::timestamptz,
        '2025-03-10 12:00+00'::timestamptz, '2025-03-10 12:00:05+00'::timestamptz, null::timestamptz, null::uuid
    )
    $$,
    'an event waits: half a minute for who received it, then for the worker'
);
select is(
    (select payload from billing.stripe_events),
    stripe_event('evt_1', 'invoice.paid', '{"id": "in_1", "customer": "cus_a"}', '2025-03-10 12:00+00'),
    'all of it is kept'
);
set local tap.now = '2025-03-10 12:01+00';
select rows_are(
    $$
    select event_id, type, received_at,
    attempts from billing.record_stripe_event(stripe_event('evt_1', 'refund.created', '{}'))
    $$,
    $$values ('evt_1', 'invoice.paid', '2025-03-10 12:00:05+00'::timestamptz, 0)$$,
    'R14: told again, it is the one that is known'
);
select billing.apply_stripe_event('evt_1') \g /dev/null
select is(
    (billing.record_stripe_event(stripe_event('evt_1', 'invoice.paid', '{}'))).status, 'ignored', 'and stays as it is'
);
select is((select count(*) from billing.stripe_events), 1::bigint, 'it is there once');

select is_empty(
    $$
    select type from unnest(array[
        'checkout.session.completed', 'checkout.session.async_payment_succeeded',
        'checkout.session.async_payment_failed',
        'checkout.session.expired', 'payment_intent.succeeded', 'payment_intent.processing',
        'payment_intent.payment_failed', 'payment_intent.canceled', 'charge.refunded', 'charge.refund.updated',
        'refund.created', 'refund.updated', 'refund.failed', 'charge.dispute.created', 'charge.dispute.updated',
        'charge.dispute.closed', 'charge.dispute.funds_withdrawn', 'charge.dispute.funds_reinstated',
        'customer.subscription.created', 'customer.subscription.updated', 'customer.subscription.deleted',
        'customer.subscription.paused', 'customer.subscription.resumed', 'invoice.paid', 'invoice.payment_failed'
    ]) type
    where (billing.record_stripe_event(stripe_event('evt_' || type, type, '{}'))).status <> 'pending'
    $$,
    'what moves money or subscriptions is applied'
);
select rows_are(
    format($$
    select status, next_attempt_at, processed_at
    from billing.record_stripe_event(stripe_event('evt_' || md5(%1$L), %1$L, '{"id": "x"}'))
    $$, type),
    $$values ('ignored', null::timestamptz, '2025-03-10 12:01+00'::timestamptz)$$,
    type || ' means nothing to us, and is stored'
)
from unnest(array['customer.created', 'product.updated', 'charge.succeeded', 'a type to come']) type;
select is(
    (select payload #>> '{data,object,id}' from billing.stripe_events where type = 'product.updated'), 'x',
    'all of it, too'
);

select throws_ok(
    format('select billing.record_stripe_event(%L)', event), 'UC400', 'invalid_request', 'no event: ' || promise
)
from (values
    (null, 'null'), ('null', 'a JSON null'), ('[]', 'an array'), ('{}', 'an empty object'),
    (stripe_event('evt_2', 'invoice.paid', '{}') || '{"object": "charge"}', 'another object'),
    (stripe_event('evt_2', 'invoice.paid', '{}') - 'object', 'an object of no kind'),
    (stripe_event('', 'invoice.paid', '{}'), 'an empty id'),
    (stripe_event('evt 2', 'invoice.paid', '{}'), 'an id with a blank'),
    (stripe_event(repeat('e', 201), 'invoice.paid', '{}'), 'a long id'),
    (stripe_event(null, 'invoice.paid', '{}'), 'no id'),
    (stripe_event('evt_2', ' ', '{}'), 'a blank type'),
    (stripe_event('evt_2', null, '{}'), 'no type'),
    (stripe_event('evt_2', 'invoice.paid', '{}') || '{"created": "now"}', 'a time that is none'),
    (stripe_event('evt_2', 'invoice.paid', '{}') || '{"created": 1741608000.5}', 'a time with a fraction'),
    (stripe_event('evt_2', 'invoice.paid', '{}') - 'created', 'no time'),
    (stripe_event('evt_2', 'invoice.paid', '[]'), 'data that is no object'),
    (stripe_event('evt_2', 'invoice.paid', '{}') - 'data', 'no data')
) c (event, promise);
select is((select count(*) from billing.stripe_events where event_id ~ '2$'), 0::bigint, 'and nothing is stored');

select * from finish();
rollback;
