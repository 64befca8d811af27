-- The payments of a user, newest first, with the money that went back and the credits that went with it.
\ir ../payments.psql

select buys(a(), 10, 'pi_1') \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
select buys(a(), 20, 'pi_2') \g /dev/null
select buys(b(), 30, 'pi_b') \g /dev/null
select customer(a(), 'cus_a') \g /dev/null
set local tap.now = '2025-03-12 12:00+00';
set local role billing_api;
select billing.record_stripe_object(stripe_intent('pi_3', 2000, p_customer => 'cus_a', p_currency => 'eur')) \g /dev/null
select rows_are(
    $$
    select payment_intent_id, user_id, purchase_id is not null, amount_cents, currency, refunded_cents, lost_cents,
        disputed, bought, reclaimed, clawed, owed, created_at
    from billing.list_payments(a())
    $$,
    $$
    values
        (
            'pi_3', a(), false, 2000::bigint, 'eur', 0::bigint, 0::bigint, false, 0::numeric, 0::numeric, 0::numeric,
            0::numeric, '2025-03-12 12:00+00'::timestamptz
        ),
        ('pi_2', a(), true, 2000, 'usd', 0, 0, false, 20, 0, 0, 0, '2025-03-11 12:00+00'),
        ('pi_1', a(), true, 1000, 'usd', 0, 0, false, 10, 0, 0, 0, '2025-03-10 12:00+00')
    $$,
    'those of the user, the newest first; one that paid for no purchase bought no credits'
);
select billing.deduct_credits(a(), 25) \g /dev/null
select billing.record_stripe_object(stripe_refund('re_1', 'pi_2', 300, p_status => 'pending')) \g /dev/null
select billing.record_stripe_object(stripe_refund('re_2', 'pi_2', 700, p_status => 'failed')) \g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_1', 'pi_2', 1200, 'lost')) \g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_2', 'pi_2', 100)) \g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_3', 'pi_1', 100, 'warning_needs_response')) \g /dev/null
select billing.record_stripe_object(stripe_refund('re_b', 'pi_b', 300)) \g /dev/null
select rows_are(
    $$
    select payment_intent_id, refunded_cents, lost_cents, disputed, bought, reclaimed, clawed, owed
    from billing.list_payments(a(), 'pi_2')
    $$,
    $$values ('pi_2', 300::bigint, 1200::bigint, true, 20::numeric, 15::numeric, 5::numeric, 10::numeric)$$,
    'one of them: refunds that did not fail, lost disputes, an open one, what was taken and what is owed'
);
select is(
    (select (refunded_cents, lost_cents, disputed)::text from billing.list_payments(a(), 'pi_1')), '(0,0,f)',
    'an inquiry is no dispute'
);
reset role;
update billing.billing_payments
set created_at = '2025-03-11 12:00+00'
where payment_intent_id in ('pi_1', 'pi_3');
set local role billing_api;
select rows_are(
    'select payment_intent_id from billing.list_payments(a(), p_limit => 1)', $$values ('pi_1')$$,
    'a page of the newest; at the same time, by name'
);
select rows_are(
    'select payment_intent_id from billing.list_payments(a(), p_before => ''pi_1'', p_limit => 2)',
    $$values ('pi_2'), ('pi_3')$$, 'the next page begins after the last payment, at the same time too'
);
select is_empty(
    'select from billing.list_payments(a(), p_before => ''pi_b'')', 'the payment of another is no place in the list'
);
select throws_ok(
    'select billing.list_payments(a(), p_limit => 0)', 'UC422', 'limit_out_of_range', 'a page has at least one row'
);
select is_empty('select from billing.list_payments(b(), ''pi_2'')', 'another user does not see it');
select is_empty('select from billing.list_payments(null)', 'nor does nobody');
select is_empty('select from billing.list_payments(a(), ''pi_9'')', 'there is no such payment');

select * from finish();
rollback;
