-- A checkout is recorded before Stripe is asked; a user has one that is open, and none beside a subscription.
\ir ../payments.psql

select billing.open_account(u) from unnest(array[a(), b(), c()]) u \g /dev/null
create function checkout(p_key text) returns uuid language sql as
$$select checkout_id from billing.billing_checkouts where idempotency_key = p_key$$;
create function pending(p_key text) returns uuid language sql as $$
    select call_id from billing.stripe_calls
    where kind = 'checkout' and subject_id = checkout(p_key)::text and status = 'pending'
$$;
create function states() returns text language sql as $$
    select string_agg(concat_ws(' ', k.idempotency_key, k.status, c.status, c.error), ', ' order by k.idempotency_key)
    from billing.billing_checkouts k
    join billing.stripe_calls c on c.kind = 'checkout' and c.subject_id = k.checkout_id::text
    where k.user_id = a()
$$;

select rows_are(
    $$
    select checkout_id = checkout('first'), user_id, tier, billing_interval, status, checkout_url,
        stripe_checkout_session_id, created_at, call_id = pending('first'), replayed
    from billing.request_checkout(
        a(), 'tier_2_20', p_idempotency_key => 'first',
        p_details => '{"success_url": "https://app/s", "cancel_url": "https://app/c"}'
    )
    $$,
    $$
    values (
        true, a(), 'tier_2_20', 'month', 'pending', null, null, '2025-03-10 12:00+00'::timestamptz, true, false
    )
    $$,
    'a checkout is by the month unless told otherwise'
);
select rows_are(
    'select user_id, request, status, next_attempt_at from billing.stripe_calls where call_id = pending(''first'')',
    $$
    values (
        a(),
        jsonb_build_object(
            'checkout_id', checkout('first'), 'tier', 'tier_2_20', 'interval', 'month', 'name', 'Plus', 'unit_cents',
            2000,
            'lookup_key', 'credit_billing_tier_2_20_month', 'success_url', 'https://app/s', 'cancel_url',
            'https://app/c'
        ),
        'pending', '2025-03-10 12:00:30+00'::timestamptz
    )
    $$,
    'with what is to be done at Stripe'
);
select is((billing.get_account(a())).tier, 'free', 'the tier stays until it is paid');

-- The same again.

select rows_are(
    $$
    select checkout_id, call_id,
    replayed from billing.request_checkout(a(), 'tier_2_20', 'month', 'first', '{"success_url": "x"}')
    $$,
    $$values (checkout('first'), pending('first'), true)$$, 'the same key and request is the same checkout'
);
select throws_ok(
    format('select billing.request_checkout(a(), %s, ''first'')', request), 'UC409', 'idempotency_key_reused',
    'another request under the key is refused: ' || request
)
from unnest(array['''tier_6_50'', ''month''', '''tier_2_20'', ''year''']) request;
select is(
    (billing.request_checkout(b(), 'tier_6_50', 'year', 'first')).replayed, false,
    'the key of one user is another''s too'
);
select rows_are(
    $$select request - 'checkout_id' from billing.stripe_calls where user_id = b()$$,
    $$
    select '{"tier": "tier_6_50", "interval": "year", "name": "Pro", "unit_cents": 60000,
        "lookup_key": "credit_billing_tier_6_50_year"}'::jsonb
    $$,
    'a year is twelve months'
);
select is(
    (select details from billing.billing_checkouts where user_id = b()), '{}', 'details are optional'
);

-- Another one.

select billing.request_checkout(a(), 'tier_6_50', 'month', 'second') \g /dev/null
select is(
    states(), 'first expired failed superseded, second pending pending',
    'a second checkout takes the place of the first'
);
select billing.finish_stripe_call(
    pending('second'), stripe_session('cs_2', checkout('second'), 5000, null, 'open', 'unpaid', null, 'subscription')
) \g /dev/null
select rows_are(
    $$select status, checkout_url, call_id, replayed from billing.request_checkout(a(), 'tier_6_50', 'month', 'second')$$,
    $$values ('open', 'https://checkout.stripe.com/c/cs_2', null::uuid, true)$$, 'a key tells how its checkout stands'
);
select billing.request_checkout(a(), 'tier_6_50', 'month', 'third') \g /dev/null
select is(
    states(), 'first expired failed superseded, second expired done, third pending pending', 'and of one that is open'
);
select is(
    (billing.request_checkout(a(), 'tier_2_20', 'month', 'first')).status, 'expired', 'the first stays what it was'
);

-- Beside a subscription.

select customer(c(), 'cus_c') \g /dev/null
create function has(p_status text) returns text language plpgsql as $$
begin
    delete from billing.billing_subscriptions;
    perform billing.record_stripe_object(stripe_subscription('sub_c', 'cus_c', 'tier_2_20', p_status));
    return (billing.request_checkout(c(), 'tier_6_50')).status;
exception
    when sqlstate 'UC409' then return sqlerrm;
end
$$;
select is(has(status), 'subscription_exists', 'a subscription that is ' || status || ' is changed instead')
from unnest(array['active', 'trialing', 'past_due', 'unpaid', 'paused']) status;
select is(has(status), 'pending', 'one that is ' || status || ' is none')
from unnest(array['canceled', 'incomplete', 'incomplete_expired']) status;

select throws_ok('select billing.request_checkout(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, ''tier_2_20''', 'UC400', 'invalid_request'),
    ('a(), ''tier_2_20'', ''month'', ''''', 'UC400', 'invalid_request'),
    ('a(), ''tier_2_20'', ''month'', repeat(''k'', 201)', 'UC400', 'invalid_request'),
    ('a(), ''tier_2_20'', ''month'', ''k'', ''[]''', 'UC400', 'invalid_request'),
    ('nobody(), ''tier_2_20''', 'UC404', 'account_not_found'),
    ('a(), ''gold''', 'UC404', 'unknown_tier'),
    ('a(), null', 'UC404', 'unknown_tier'),
    ('a(), ''free''', 'UC422', 'tier_not_for_sale'),
    ('a(), ''tier_2_20'', ''week''', 'UC422', 'unknown_interval'),
    ('a(), ''tier_2_20'', null', 'UC422', 'unknown_interval')
) c (arguments, code, name);
select is(
    states(), 'first expired failed superseded, second expired done, third pending pending', 'a refusal changes nothing'
);

select billing.set_account_status(chief(), b(), 'closed', 'r')
from billing.bootstrap_super_admin(chief()), billing.open_account(b()) \g /dev/null
select throws_ok(
    'select billing.request_checkout(b(), ''tier_2_20'')', 'UC409', 'account_closed', 'a closed account buys nothing'
);

select * from finish();
rollback;
