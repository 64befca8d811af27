-- A user sees a purchase of their own, from its record to its end, and nobody else's.
\ir ../payments.psql

select billing.open_account(a(), 'buyer') \g /dev/null
set local role billing_api;
create temp table made as select * from billing.record_purchase(a(), p_package => '50', p_idempotency_key => 'key');
select rows_are(
    'select * from billing.get_purchase(a(), (select purchase_id from made))', 'select * from made',
    'as it was recorded'
);
select is(
    (
        billing.finish_stripe_call(
            (select call_id from made),
            stripe_session('cs_1', (select purchase_id from made), 5000, null, 'open', 'unpaid')
        )
    ).status,
    'done', 'Stripe has made the Checkout Session'
);
set local tap.now = '2025-03-10 12:05+00';
select rows_are(
    $$
    select status, checkout_url, stripe_checkout_session_id, stripe_payment_intent_id, entry_no, created_at,
        completed_at, call_id, replayed
    from billing.get_purchase(a(), (select purchase_id from made))
    $$,
    $$
    values (
        'open', 'https://checkout.stripe.com/c/cs_1', 'cs_1', null::text, null::bigint,
        '2025-03-10 12:00+00'::timestamptz, null::timestamptz, null::uuid, false
    )
    $$,
    'where to pay is known, and nothing is to be done'
);
select billing.complete_purchase(
    (select purchase_id from made), stripe_intent('pi_1', 5000, (select purchase_id from made))
) \g /dev/null
select rows_are(
    $$
    select amount, price_cents, package, status, stripe_payment_intent_id, entry_no, completed_at, replayed
    from billing.get_purchase(a(), (select purchase_id from made))
    $$,
    $$values (50::numeric, 5000::bigint, '50', 'paid', 'pi_1', 1::bigint, '2025-03-10 12:05+00'::timestamptz, false)$$,
    'paid, with the entry that brought the credits'
);
select throws_ok('select billing.get_purchase(' || arguments || ')', 'UC404', 'purchase_not_found', difference)
from (values
    ('b(), (select purchase_id from made)', 'another user does not see it'),
    ('null, (select purchase_id from made)', 'nor does nobody'),
    ('a(), a()', 'there is no such purchase'),
    ('a(), null', 'null is none')
) c (arguments, difference);

select * from finish();
rollback;
