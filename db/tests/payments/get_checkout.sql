-- A user sees their own checkouts, and how they stand.
\ir ../payments.psql

select billing.open_account(u) from unnest(array[a(), b()]) u \g /dev/null
select billing.request_checkout(a(), 'tier_2_20', 'year') \g /dev/null
create function id() returns uuid language sql as 'select checkout_id from billing.billing_checkouts';
create function call_id() returns uuid language sql as 'select call_id from billing.stripe_calls';
create function tells(p_status text, p_cents bigint default 24000) returns void language sql as $$
    select billing.record_stripe_object(
        stripe_session('cs_1', id(), p_cents, null, p_status, 'unpaid', null, 'subscription')
    )
$$;

select rows_are(
    'select * from billing.get_checkout(a(), id())',
    $$
    values (
        id(), a(), 'tier_2_20', 'year', 'pending', null, null, '2025-03-10 12:00+00'::timestamptz, call_id(), false
    )
    $$,
    'before Stripe was asked'
);
select billing.finish_stripe_call(
    call_id(), stripe_session('cs_1', id(), 24000, null, 'open', 'unpaid', null, 'subscription')
) \g /dev/null
select rows_are(
    'select status, checkout_url, stripe_checkout_session_id, call_id from billing.get_checkout(a(), id())',
    $$values ('open', 'https://checkout.stripe.com/c/cs_1', 'cs_1', null::uuid)$$, 'when it can be paid'
);
select tells('expired') \g /dev/null
select tells('open') \g /dev/null
select is((billing.get_checkout(a(), id())).status, 'expired', 'a status only moves forward');
select tells('complete') \g /dev/null
select is((billing.get_checkout(a(), id())).status, 'complete', 'what was paid after all is complete');
select tells('expired') \g /dev/null
select is((billing.get_checkout(a(), id())).status, 'complete', 'and stays it');

select throws_ok('select billing.get_checkout(' || arguments || ')', 'UC404', 'checkout_not_found', arguments)
from unnest(array['b(), id()', 'null, id()', 'a(), nobody()', 'a(), null', 'nobody(), id()']) arguments;

select * from finish();
rollback;
