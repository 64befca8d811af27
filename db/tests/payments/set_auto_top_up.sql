-- A user says when and what the automatic top-up buys; a card that was refused is not tried again by turning it on.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.open_account(a(), 'buyer') \g /dev/null
select billing.open_account(b(), 'free') \g /dev/null

select rows_are(
    $$select * from billing.set_auto_top_up(a(), true, 5.000000001, '25', 100.5, 'pm_1')$$,
    $$
    values (
        a(), true, 5.000000001, '25', 100.5, 0.0, 'pm_1', null, 0, null::timestamptz, '2025-03-10 12:00+00'::timestamptz
    )
    $$,
    'it is set up'
);
set local tap.now = '2025-03-10 13:00+00';
select rows_are(
    'select * from billing.set_auto_top_up(a(), false)',
    $$
    values (
        a(), false, 5.000000001, '25', 100.5, 0.0, 'pm_1', null, 0, null::timestamptz,
        '2025-03-10 13:00+00'::timestamptz
    )
    $$,
    'what is not given stays as it is'
);
select rows_are(
    $$
    select enabled, threshold, package, monthly_cap, payment_method_id
    from billing.set_auto_top_up(a(), true, 10, '10', 10, 'pm_2')
    $$,
    $$values (true, 10, '10', 10, 'pm_2')$$, 'what is given counts'
);
select is((select count(*) from billing.billing_auto_top_ups), 1::bigint, 'a user has one');

-- After a refusal.

create function is_refused(p_code text) returns void language sql as
$$select billing.fail_stripe_call((billing.request_top_up(a())).call_id, 'Your card was declined.', p_code)$$;
create function shows() returns text language sql as $$
    select concat_ws(
        ' ', case when enabled then 'on' else 'off' end, disabled_reason, failures,
        extract(epoch from retry_after - billing_private.clock()) / 3600
    )
    from billing.get_auto_top_up(a())
$$;
select is_refused('insufficient_funds') \g /dev/null
select is(shows(), 'off insufficient_funds 1 1.00000000000000000000', 'a refused charge turns it off, with its reason');
select billing.set_auto_top_up(a(), false, 20) \g /dev/null
select is(shows(), 'off insufficient_funds 1 1.00000000000000000000', 'the reason stays while it is off');
select billing.set_auto_top_up(a(), true) \g /dev/null
select is(shows(), 'on 1 1.00000000000000000000', 'R22: turning it on forgets the reason, not the pause of the card');
select billing.set_auto_top_up(a(), true, p_payment_method_id => 'pm_2') \g /dev/null
select is(shows(), 'on 1 1.00000000000000000000', 'nor does naming the same card');
select billing.set_auto_top_up(a(), true, p_payment_method_id => 'pm_3') \g /dev/null
select is(shows(), 'on 0', 'another card has no pause');

-- Refusals.

select throws_ok('select billing.set_auto_top_up(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, true, 1, ''10'', 10', 'UC400', 'invalid_request'),
    ('a(), null', 'UC400', 'invalid_request'),
    ('b(), false, null, ''10'', 10', 'UC400', 'invalid_request'),
    ('b(), false, 1, null, 10', 'UC400', 'invalid_request'),
    ('b(), false, 1, ''10'', null', 'UC400', 'invalid_request'),
    ('a(), true, p_payment_method_id => repeat(''p'', 201)', 'UC400', 'invalid_request'),
    ('b(), true, 1, ''10'', 10', 'UC403', 'purchase_not_allowed'),
    ('nobody(), true, 1, ''10'', 10', 'UC404', 'account_not_found'),
    ('a(), true, 1, ''11'', 100', 'UC404', 'unknown_package'),
    ('a(), true, 0, ''10'', 10', 'UC422', 'amount_not_positive'),
    ('a(), true, -1, ''10'', 10', 'UC422', 'amount_not_positive'),
    ('a(), true, 1, ''10'', 0', 'UC422', 'amount_not_positive'),
    ('a(), true, 0.0000000001, ''10'', 10', 'UC422', 'amount_too_precise'),
    ('a(), true, 1, ''10'', 10.0000000001', 'UC422', 'amount_too_precise'),
    ('a(), true, 1000000000001, ''10'', 10', 'UC422', 'amount_too_large'),
    ('a(), true, ''NaN'', ''10'', 10', 'UC422', 'amount_too_large'),
    ('a(), true, 1, ''10'', ''infinity''', 'UC422', 'amount_too_large'),
    ('a(), true, 1, ''10'', 9.999999999', 'UC422', 'amount_out_of_range'),
    ('a(), true, p_package => ''25''', 'UC422', 'amount_out_of_range')
) c (arguments, code, name);
select rows_are(
    'select user_id, enabled, threshold, package, monthly_cap, payment_method_id from billing.billing_auto_top_ups',
    $$values (a(), true, 20, '10', 10, 'pm_3')$$, 'a refusal changes nothing'
);
select billing.set_auto_top_up(b(), false, 1, '10', 10) \g /dev/null
select throws_ok(
    'select billing.set_auto_top_up(b(), true)', 'UC403', 'purchase_not_allowed',
    'it can be prepared by whom it is not allowed, but not turned on'
);
select billing.set_account_status(chief(), a(), 'frozen', 'r') \g /dev/null
select throws_ok(
    'select billing.set_auto_top_up(a(), true)', 'UC403', 'purchase_not_allowed', 'nor for an account that is frozen'
);
select is((billing.set_auto_top_up(a(), false)).enabled, false, 'which can turn it off');

-- Turning it off.

select is((billing.set_auto_top_up(c(), false)).enabled, false, 'what was never there is off')
from billing.open_account(c(), 'tier_200_1000');
select billing.set_auto_top_up(c(), true, 2000, '10', 10) \g /dev/null
select billing.request_top_up(c()) \g /dev/null
select billing.set_auto_top_up(c(), false) \g /dev/null
select rows_are(
    $$
    select p.status, p.error, s.status
    from billing.credit_purchases p join billing.stripe_calls s on s.subject_id = p.purchase_id::text
    where p.user_id = c()
    $$,
    $$values ('failed', 'turned off', 'failed')$$, 'ends a charge that nobody has tried'
);
select billing.set_auto_top_up(c(), true) \g /dev/null
select call_id as tried from billing.request_top_up(c()) \gset
select billing.claim_stripe_call(:'tried') \g /dev/null
select billing.set_auto_top_up(c(), false) \g /dev/null
select is(
    (select status from billing.stripe_calls where call_id = :'tried'), 'pending',
    'one that was tried runs to its end: it may have had its effect'
);
update billing.billing_packages set price_cents = 2000 where name = '10';
select is((billing.set_auto_top_up(c(), false)).enabled, false, 'it can be turned off when the cap covers nothing');
delete from billing.billing_packages where name = '10';
select is((billing.set_auto_top_up(c(), false)).enabled, false, 'or its package is gone');
select billing.set_auto_top_up(c(), false, p_package => '25', p_monthly_cap => 500, p_payment_method_id => 'pm_9') \g /dev/null
select is(
    (billing.set_auto_top_up(c(), false, p_payment_method_id => '')).payment_method_id, null,
    'an empty payment method is the default one'
);
select billing.finish_stripe_call(:'tried', stripe_intent('pi_tried', 1000, purchase_id, 'requires_action'))
from billing.list_purchases(c()) where status = 'pending' \g /dev/null
select is(
    (billing.get_auto_top_up(c())).disabled_reason, 'authentication_required',
    'a payment that asks for the customer ends it, for nobody is there'
);
select billing.set_auto_top_up(c(), true, p_payment_method_id => 'pm_8') \g /dev/null
select billing.request_top_up(c()) \g /dev/null
select billing.set_account_status(chief(), c(), 'closed', 'r') \g /dev/null
select is(
    (select count(*) from billing.stripe_calls where user_id = c() and status = 'pending'), 0::bigint,
    'a closed account is not charged any more'
);

select * from finish();
rollback;
