-- What a user sets out to buy is recorded, with the call that makes its Checkout Session, before Stripe is asked; once
-- per key, and only for an account whose tier may buy.
\ir ../payments.psql

select billing.open_account(a(), 'buyer') \g /dev/null
select billing.open_account(b(), 'tier_200_1000') \g /dev/null
set local role billing_api;
create temp table first as
select *
from billing.record_purchase(
    a(), 25.5, p_idempotency_key => 'key',
    p_details => '{"success_url": "https://app/ok", "save_card": true, "amount_cents": 1, "name": "gift"}'
);
select rows_are(
    $$
    select user_id, kind, amount, price_cents, package, status, checkout_url, stripe_checkout_session_id,
        stripe_payment_intent_id, entry_no, error, created_at, completed_at, call_id is not null, replayed
    from first
    $$,
    $$
    values (
        a(), 'checkout', 25.5, 2550::bigint, null::text, 'pending', null::text, null::text, null::text, null::bigint,
        null::text, '2025-03-10 12:00+00'::timestamptz, null::timestamptz, true, false
    )
    $$,
    'an amount costs the same number of dollars'
);
select rows_are(
    'select kind, subject_id, request, status from billing.claim_stripe_call((select call_id from first))',
    $$
    select
        'purchase', purchase_id::text,
        jsonb_build_object(
            'purchase_id', purchase_id, 'amount_cents', 2550, 'name', '25.5 credits', 'save_card', true,
            'success_url', 'https://app/ok'
        ),
        'pending'
    from first
    $$,
    'the call says what to sell; details do not change the price'
);
select rows_are(
    'select amount, price_cents, package, status from billing.record_purchase(a(), p_package => ''100'')',
    $$values (100::numeric, 10000::bigint, '100', 'pending')$$, 'a package has its own amount and price'
);
select is((billing.get_account(a())).balance, 0::numeric, 'nothing is granted yet');
select lives_ok('select billing.record_purchase(a(), ' || amount || ')', 'R02: the limits are inclusive: ' || amount)
from (values ('5'), ('5.01'), ('10000'), ('7.10000')) c (amount);

-- Keys.

select rows_are(
    $$
    select purchase_id, amount, status, call_id, replayed
    from billing.record_purchase(a(), 25.50, p_idempotency_key => 'key', p_details => '{"success_url": "https://other"}')
    $$,
    'select purchase_id, amount, status, call_id, true from first', 'the same key and amount is the first purchase'
);
select throws_ok('select billing.record_purchase(a(), ' || arguments || ', p_idempotency_key => ''key'')', 'UC409',
    'idempotency_key_reused', difference)
from (values
    ('25', 'another amount is another request'), ('p_package => ''25''', 'a package too')
) c (arguments, difference);
select isnt(
    (billing.record_purchase(b(), 25.5, p_idempotency_key => 'key')).purchase_id, (select purchase_id from first),
    'a key is the user''s'
);
select is(
    (billing.record_purchase(b(), p_package => '10', p_idempotency_key => 'package')).replayed, false,
    'a package, with a key'
);
select is(
    (billing.record_purchase(b(), p_package => '10', p_idempotency_key => 'package')).replayed, true,
    'is replayed as well'
);
select throws_ok(
    'select billing.record_purchase(b(), 10, p_idempotency_key => ''package'')', 'UC409', 'idempotency_key_reused',
    'the amount of a package is not the package'
);

-- Who may buy.

select billing.open_account(c()) \g /dev/null
reset role;
select billing.bootstrap_super_admin(chief()) \g /dev/null
set local role billing_api;
select throws_ok(
    'select billing.record_purchase(c(), 10)', 'UC403', 'purchase_not_allowed', 'the free tier does not buy credits'
);
select throws_ok(
    'select billing.record_purchase(c(), p_package => ''10'')', 'UC403', 'purchase_not_allowed', 'nor packages'
);
select billing.set_account_status(chief(), a(), 'frozen', 'r') \g /dev/null
select throws_ok(
    'select billing.record_purchase(a(), 10)', 'UC403', 'purchase_not_allowed', 'a frozen account does not buy'
);
select is(
    (billing.record_purchase(a(), 25.5, p_idempotency_key => 'key')).replayed, true,
    'but a retry of what was done before is told'
);
select billing.set_account_status(chief(), a(), 'closed', 'r') \g /dev/null
select throws_ok(
    'select billing.record_purchase(a(), 10)', 'UC403', 'purchase_not_allowed', 'nor does a closed one'
);
select lives_ok(
    'select billing.record_purchase(b(), 10, p_idempotency_key => ''later'')', 'the highest tier of the guide does'
);
select throws_ok(
    'select billing.record_purchase(c(), 10, p_idempotency_key => ''later'')', 'UC403', 'purchase_not_allowed',
    'a refusal'
);
select billing.change_tier(chief(), c(), 'buyer', 'r') \g /dev/null
select is((billing.record_purchase(c(), 11, p_idempotency_key => 'later')).replayed, false, 'binds no key');

-- Requests that are none.

select throws_ok('select billing.record_purchase(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, 10', 'UC400', 'invalid_request'),
    ('b()', 'UC400', 'invalid_request'),
    ('b(), 10, ''10''', 'UC400', 'invalid_request'),
    ('b(), 10, p_idempotency_key => ''''', 'UC400', 'invalid_request'),
    ('b(), 10, p_idempotency_key => repeat(''k'', 256)', 'UC400', 'invalid_request'),
    ('b(), 10, p_details => ''[]''', 'UC400', 'invalid_request'),
    ('nobody(), 10', 'UC404', 'account_not_found'),
    ('b(), p_package => ''11''', 'UC404', 'unknown_package'),
    ('b(), p_package => ''''', 'UC404', 'unknown_package'),
    ('b(), 0', 'UC422', 'amount_not_positive'),
    ('b(), -10', 'UC422', 'amount_not_positive'),
    ('b(), 10.001', 'UC422', 'amount_not_whole_cents'),
    ('b(), 10.000000001', 'UC422', 'amount_not_whole_cents'),
    ('b(), 10.0000000001', 'UC422', 'amount_too_precise'),
    ('b(), 4.99', 'UC422', 'amount_out_of_range'),
    ('b(), 10000.01', 'UC422', 'amount_out_of_range'),
    ('b(), 1000000000000.1', 'UC422', 'amount_too_large'),
    ('b(), ''NaN''', 'UC422', 'amount_too_large'),
    ('b(), ''infinity''', 'UC422', 'amount_too_large')
) c (arguments, code, name);
reset role;
update billing.billing_settings set min_purchase = 20, max_purchase = 40;
select throws_ok(
    'select billing.record_purchase(b(), ' || amount || ')', 'UC422', 'amount_out_of_range',
    'the limits are configured: ' || amount
)
from (values ('19.99'), ('40.01')) c (amount);
select is((billing.record_purchase(b(), p_package => '10')).status, 'pending', 'and do not bind packages');
update billing.billing_packages set amount = 12, price_cents = 900 where name = '10';
select is(
    (
        select (amount, price_cents)::text
        from billing.record_purchase(b(), p_package => '10', p_idempotency_key => 'package')
    ),
    '(10,1000)', 'a purchase keeps the price that it was recorded with'
);
select is(
    (select count(*) from billing.stripe_calls where kind = 'purchase'),
    (select count(*) from billing.credit_purchases), 'R06: each purchase has one call, also after retries'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
