-- Each fall below the threshold is charged once, within the monthly cap, whoever asks and how often.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select buys(a(), 10, 'pi_a') \g /dev/null
select billing.open_account(b(), 'buyer') \g /dev/null
create function asks() returns text language plpgsql as $$
declare
    v_purchase billing.purchase := billing.request_top_up(a());
begin
    return (
        select crossing_no || ' ' || trim_scale(amount)
        from billing.credit_purchases
        where purchase_id = v_purchase.purchase_id
    );
end
$$;
-- What Stripe tells of the charge under way.
create function told(p_status text, p_code text default null) returns text language plpgsql as $$
declare
    v_purchase billing.credit_purchases;
begin
    select * into v_purchase
    from billing.credit_purchases
    where user_id = a() and kind = 'auto_top_up'
    order by crossing_no desc
    limit 1;
    perform billing.record_stripe_object(
        stripe_intent('pi_' || v_purchase.crossing_no, v_purchase.price_cents, v_purchase.purchase_id, p_status)
        || jsonb_build_object('last_payment_error', case when p_code is not null then
            jsonb_build_object('code', 'card_declined', 'decline_code', p_code, 'message', 'Your card was declined.') end)
    );
    return (select status from billing.credit_purchases where purchase_id = v_purchase.purchase_id);
end
$$;
create function shows() returns text language sql as $$
    select concat_ws(
        ' ', case when enabled then 'on' else 'off' end, disabled_reason, failures, to_char(retry_after, 'DD HH24:MI')
    )
    from billing.get_auto_top_up(a())
$$;
set local timezone = 'UTC';

select is(asks(), null, 'without a top-up there is none to charge');
select rows_are(
    'select purchase_id, user_id, status, call_id from billing.request_top_up(a())',
    'values (null::uuid, null::uuid, null, null::uuid)', 'which is a row of nulls'
);
select billing.set_auto_top_up(a(), true, 5, '25', 60, 'pm_1') \g /dev/null
select is(asks(), null, 'nor with enough credits');
select billing.deduct_credits(a(), 5.5) \g /dev/null
set local tap.now = '2025-03-10 12:30+00';
create temp table charge as select * from billing.request_top_up(a());
select rows_are(
    'select user_id, kind, amount, price_cents, package, status, created_at, replayed from charge',
    $$values (a(), 'auto_top_up', 25::numeric, 2500::bigint, '25', 'pending', '2025-03-10 12:30+00'::timestamptz, false)$$,
    'a fall below the threshold buys the package'
);
select rows_are(
    'select call_id, kind, subject_id, user_id, request, status from billing.stripe_calls where kind = ''top_up''',
    $$
    select call_id, 'top_up', purchase_id::text, a(),
        jsonb_build_object('purchase_id', purchase_id, 'amount_cents', 2500, 'payment_method', 'pm_1'), 'pending'
    from charge
    $$,
    'with the card that was chosen'
);
select is(asks(), null, 'R22: while the charge is under way there is no other');
select is(told('processing'), 'processing', 'however long it takes');
select is(asks(), null, 'R22: one that is being paid is under way');
select is(told('succeeded'), 'paid', 'until it is paid');
select is((billing.get_account(a())).balance, 29.5, 'then it is granted');
select is(asks(), null, 'and there is enough');
select is(told('succeeded'), 'paid', 'told twice');
select is((billing.get_account(a())).balance, 29.5, 'it is granted once');
select billing.deduct_credits(a(), 25) \g /dev/null
select is(asks(), '2 25', 'the next fall is another one');
select told('succeeded') \g /dev/null
select billing.deduct_credits(a(), 25) \g /dev/null

-- The cap.

select is(asks(), null, 'a third one would exceed the cap of the month');
select billing.set_auto_top_up(a(), true, p_monthly_cap => 74.999999999) \g /dev/null
select is(asks(), null, 'by whatever');
set local tap.now = '2025-03-31 23:59:59.999+00';
select is(asks(), null, 'to the end of the month in UTC');
set local timezone = 'America/Los_Angeles';
set local tap.now = '2025-04-01 00:00+00';
select is(asks(), '3 25', 'the next month has a cap of its own, wherever the session is');
select is((billing.get_auto_top_up(a())).spent_this_month, 25, 'of which a charge under way is a part');
set local timezone = 'UTC';
select billing.set_auto_top_up(a(), true, p_monthly_cap => 75) \g /dev/null
update billing.credit_purchases set status = 'expired' where kind = 'auto_top_up' and status = 'pending';
select is(asks(), '4 25', 'a charge that came to nothing is none');
select told('succeeded') \g /dev/null
select billing.deduct_credits(a(), 25) \g /dev/null
select is(asks(), '5 25', 'up to the cap');
select told('succeeded') \g /dev/null
select billing.deduct_credits(a(), 25) \g /dev/null
select is(asks(), '6 25', 'exactly');
select told('succeeded') \g /dev/null
select billing.deduct_credits(a(), 25) \g /dev/null
select is(asks(), null, 'and no further');

-- A card that is declined.

set local tap.now = '2025-05-01 10:00+00';
select is(asks(), '7 25', 'in May');
select is(told('requires_payment_method', 'insufficient_funds'), 'failed', 'a declined charge has failed');
select is(shows(), 'off insufficient_funds 1 01 11:00', 'R22: the first refusal turns it off, with its reason');
select is(
    told('requires_payment_method', 'insufficient_funds') || ' ' || shows(),
    'failed off insufficient_funds 1 01 11:00', 'once'
);
select is(asks(), null, 'R22: the card is not charged again');
select billing.set_auto_top_up(a(), true) \g /dev/null
select is(asks(), null, 'R22: not even when it is turned on again');
set local tap.now = '2025-05-01 11:00+00';
select is(asks(), '8 25', 'before its pause is over');
select told('requires_payment_method', 'lost_card') \g /dev/null
select is(shows(), 'off lost_card 2 01 13:00', 'the pause doubles');
select billing.set_auto_top_up(a(), true, p_payment_method_id => 'pm_2') \g /dev/null
select is(asks(), '9 25', 'another card has none');
select told('canceled') \g /dev/null
select is(shows(), 'off canceled 1 01 12:00', 'a charge that is canceled is one that failed');
update billing.billing_auto_top_ups set failures = 20, retry_after = null;
select billing.set_auto_top_up(a(), true) \g /dev/null
select asks() \g /dev/null
select told('requires_payment_method', 'lost_card') \g /dev/null
select is(shows(), 'off lost_card 21 08 11:00', 'a pause is at most a week');
select is(told('succeeded'), 'paid', 'R27: what is paid after it failed');
select is(
    (billing.get_account(a())).balance, 29.5, 'R27: is granted all the same'
);
select is(shows(), 'off lost_card 0', 'the pause is over; whether it goes on is the user''s to say');
select is(told('requires_payment_method', 'lost_card'), 'paid', 'R27: a failure that is told later');
select is(shows(), 'off lost_card 0', 'R27: changes nothing');

-- Its package and its price are of the time of the charge.

select billing.set_auto_top_up(a(), true, 100) \g /dev/null
update billing.billing_packages set price_cents = 2600 where name = '25';
select is((billing.request_top_up(a())).price_cents, 2600, 'the price is the present one');
select told('succeeded') \g /dev/null
delete from billing.billing_packages where name = '25';
select is(asks(), null, 'a package that is not sold any more is not bought');

select throws_ok('select billing.request_top_up(' || user_id || ')', code, name, user_id)
from (values ('null', 'UC400', 'invalid_request'), ('nobody()', 'UC404', 'account_not_found')) c (user_id, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
