-- Payments, refunds, disputes and Checkout Sessions count once, in whatever order and however often they are told; what
-- refunds and lost disputes of a payment ask back is one sum, so nothing is taken twice and nothing is missed.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
create function does(p_object jsonb, p_seen_at timestamptz default null) returns boolean language sql as
    'select billing.record_stripe_object(p_object, p_seen_at)';
create function f() returns uuid immutable language sql as $$select md5('f')::uuid$$;
create function g() returns uuid immutable language sql as $$select md5('g')::uuid$$;
create function k() returns uuid immutable language sql as $$select md5('k')::uuid$$;
create function l() returns uuid immutable language sql as $$select md5('l')::uuid$$;
create function h() returns uuid immutable language sql as $$select md5('h')::uuid$$;
-- Balance, debt, status, and what the payment says: reclaimed, clawed, owed.
create function stands(p_user_id uuid, p_intent_id text) returns text language sql as $$
    select concat_ws(
        ' ', trim_scale(a.balance), trim_scale(a.debt), a.status, '|', trim_scale(p.reclaimed), trim_scale(p.clawed),
        trim_scale(p.owed)
    )
    from billing.get_account(p_user_id) a, billing.list_payments(p_user_id, p_intent_id) p
$$;
create function bought(p_user_id uuid) returns text language sql as $$
    select concat_ws(' ', status, stripe_checkout_session_id, checkout_url, stripe_payment_intent_id, entry_no)
    from billing.list_purchases(p_user_id, p_limit => 1)
$$;
create function entries(p_user_id uuid) returns bigint security definer language sql as
    'select count(*) from billing.credit_ledger where user_id = p_user_id';
-- Every order of the numbers 1 to n.
create function orders(n integer) returns setof integer[] language sql as $$
    with recursive o (numbers) as (
        select array[]::integer[]
        union all
        select numbers || i from o, generate_series(1, n) i where i <> all (numbers)
    )
    select numbers from o where cardinality(numbers) = n
$$;
-- A user of its own for each order.
create function somebody(p_numbers integer[]) returns uuid language sql as
    $$select md5(array_to_string(p_numbers, ' ') || current_setting('tap.now'))::uuid$$;

-- A purchase, step by step.

select billing.open_account(a(), 'buyer') \g /dev/null
set local role billing_api;
select purchase_id as one from billing.record_purchase(a(), 10) \gset
select is(does(stripe_session('cs_1', :'one', 1000, null, 'open', 'unpaid')), true, 'a session of a purchase is ours');
select is(bought(a()), 'open cs_1 https://checkout.stripe.com/c/cs_1', 'it says where to pay');
select is(does(stripe_session('cs_2', :'one', 1000, null, 'open', 'unpaid')), true, 'a second session of it');
select is(bought(a()), 'open cs_1 https://checkout.stripe.com/c/cs_1', 'does not replace the first');
select is(
    does(stripe_session('cs_1', :'one', 1000, 'pi_1', 'complete', 'unpaid')), true, 'the user has paid by transfer'
);
select is(bought(a()), 'processing cs_1 https://checkout.stripe.com/c/cs_1', 'which takes its time');
select is((billing.get_account(a())).balance, 0::numeric, 'until then nothing is granted');
select is(does(stripe_session('cs_1', :'one', 1000, 'pi_1')), true, 'the money is there');
select is(bought(a()), 'paid cs_1 https://checkout.stripe.com/c/cs_1 pi_1 1', 'so it is paid');
select is(stands(a(), 'pi_1'), '10 0 active | 0 0 0', 'and granted');
select is(does(stripe_session('cs_1', :'one', 1000, null, 'open', 'unpaid')), true, 'R27: older news');
select is(does(stripe_session('cs_1', :'one', 1000, null, 'expired', 'unpaid')), true, 'R27: and contradicting ones');
select is(does(stripe_intent('pi_1', 1000, :'one')), true, 'and the payment itself');
select is(bought(a()), 'paid cs_1 https://checkout.stripe.com/c/cs_1 pi_1 1', 'change nothing');
select is(entries(a()), 1::bigint, 'nor grant anything');
set local tap.now = '2025-03-10 12:10+00';
select purchase_id as two from billing.record_purchase(a(), 10) \gset
select does(stripe_session('cs_3', :'two', 1000, null, 'expired', 'unpaid')) \g /dev/null
select is(bought(a()), 'expired cs_3', 'a session that nobody paid expires');
select is(does(stripe_intent('pi_2', 1000, :'two')), true, 'if it was paid after all');
select is(bought(a()), 'paid cs_3 pi_2 2', 'R27: the credits are there');

-- In every order, and everything twice.

reset role;
create function buys_in_order(p_numbers integer[]) returns text language plpgsql as $$
declare
    v_user_id  uuid := somebody(p_numbers);
    v_intent   text := 'pi_' || v_user_id;
    v_purchase billing.purchase;
    v_number   integer;
    v_object   jsonb;
begin
    perform billing.open_account(v_user_id, 'buyer');
    v_purchase := billing.record_purchase(v_user_id, 10);
    foreach v_number in array p_numbers loop
        v_object := case v_number
            when 1 then stripe_session('cs_' || v_user_id, v_purchase.purchase_id, 1000, null, 'open', 'unpaid')
            when 2 then stripe_session('cs_' || v_user_id, v_purchase.purchase_id, 1000, v_intent)
            when 3 then stripe_intent(v_intent, 1000, v_purchase.purchase_id, 'processing')
            when 4 then stripe_intent(v_intent, 1000, v_purchase.purchase_id)
        end;
        perform does(v_object), does(v_object);
    end loop;
    return replace(
        concat_ws(', ', bought(v_user_id), stands(v_user_id, v_intent), entries(v_user_id)), v_user_id::text, '…'
    );
end
$$;
select rows_are(
    'select distinct buys_in_order(o) from orders(4) o',
    $$values ('paid cs_… https://checkout.stripe.com/c/cs_… pi_… 1, 10 0 active | 0 0 0, 1')$$,
    'R06: session and payment grant once, in whatever order they come'
);

-- Payments that are of no purchase.

select customer(b(), 'cus_b') from billing.open_account(b(), 'buyer') \g /dev/null
insert into billing.billing_customers (user_id, stripe_customer_id, created_at) values (nobody(), 'cus_nobody', now());
set local role billing_api;
select is(does(stripe_intent('pi_foreign', 1000)), false, 'a payment that names nobody is none of ours');
select is(
    does(stripe_intent('pi_foreign', 1000, p_customer => 'cus_foreign')), false, 'nor is one of an unknown customer'
);
select is(does(stripe_session('cs_foreign', null, 1000, 'pi_foreign')), false, 'nor a session that names nothing');
select is(
    does(stripe_refund('re_foreign', null, 1000)) or does(stripe_dispute('dp_foreign', null, 1000)), false,
    'nor a refund or a dispute of no payment'
);
select is(does(stripe_intent('pi_sub', 2000, p_customer => 'cus_b')), true, 'one of a customer is a subscription''s');
select is(stands(b(), 'pi_sub'), '0 0 active | 0 0 0', 'R11: and grants nothing: invoices never do');
select is(does(stripe_intent('pi_failed', 2000, null, 'requires_payment_method', 'cus_b')), true, 'one that failed');
select is_empty('select from billing.list_payments(b(), ''pi_failed'')', 'is no payment');
select does(stripe_dispute('dp_sub', 'pi_sub', 2000)), does(stripe_refund('re_sub', 'pi_sub', 100)) \g /dev/null
select is(stands(b(), 'pi_sub'), '0 0 frozen | 0 0 0', 'it can be disputed');
select does(stripe_dispute('dp_sub', 'pi_sub', 2000, 'lost')) \g /dev/null
select is(stands(b(), 'pi_sub'), '0 0 active | 0 0 0', 'and lost: it has bought no credits');
select is(does(stripe_intent('pi_late', 1000, p_customer => 'cus_b')), true, 'a payment that does not say what for');
select purchase_id as late from billing.record_purchase(b(), 10) \gset
set local tap.now = '2025-03-10 12:09+00';
select is(
    does(stripe_session('cs_late', :'late', 1000, 'pi_late', p_customer => 'cus_b')), true, 'if its session does'
);
select is(stands(b(), 'pi_late'), '10 0 active | 0 0 0', 'grants what it paid');
select is(
    (select created_at from billing.list_payments(b(), 'pi_late')), '2025-03-10 12:10+00',
    'a session is older than the payment that it leads to'
);
set local tap.now = '2025-03-10 12:10+00';

-- Refunds made at Stripe itself.

select buys(c(), 10, 'pi_c') \g /dev/null
select billing.deduct_credits(c(), 7) \g /dev/null
select is(does(stripe_refund('re_1', 'pi_c', 500, p_status => 'pending')), true, 'a refund from Stripe''s dashboard');
select rows_are(
    $$
    select user_id, mode, amount, amount_cents, payment_intent_id, stripe_refund_id, status, requested_by, reason,
        entry_no, clawed, spent, owed, error
    from billing.list_refunds(c())
    $$,
    $$
    values (
        c(), 'money', 5::numeric, 500::bigint, 'pi_c', 're_1', 'pending', null::uuid, 'requested_by_customer',
        null::bigint, 3::numeric, 2::numeric, 0::numeric, null::text
    )
    $$,
    'is booked like our own: it takes what is left, and lets go what is spent'
);
select is(does(stripe_refund('re_1', 'pi_c', 500)), true, 'it succeeds');
select is(stands(c(), 'pi_c'), '0 0 active | 5 3 0', 'and is taken once');
select is(does(stripe_refund('re_1', 'pi_c', 500, p_status => 'failed')), true, 'it fails');
select is(stands(c(), 'pi_c'), '3 0 active | 0 0 0', 'what was taken comes back');
select throws_ok(
    format('select does(%L)', stripe_refund('re_1', 'pi_c', 501)), 'UC409', 'payment_mismatch',
    'a refund does not change its amount'
);
select throws_ok(
    format('select does(%L)', stripe_refund('re_1', 'pi_1', 500)), 'UC409', 'payment_mismatch', 'nor its payment'
);
select is(does(stripe_refund('re_2', 'pi_c', 100, a())), true, 'one that names no refund of ours');
select is(
    (select (requested_by, status)::text from billing.list_refunds(c()) where stripe_refund_id = 're_2'),
    '(,succeeded)',
    'is one made at Stripe as well'
);
select is(stands(c(), 'pi_c'), '2 0 active | 1 1 0', 'and booked');

-- Told before the payment is.

select purchase_id as early from billing.open_account(d(), 'buyer'), billing.record_purchase(d(), 10) \gset
select is(does(stripe_refund('re_3', 'pi_d', 300)), true, 'a refund of a payment that we do not know');
select is(
    (select (user_id, status, clawed)::text from billing.list_refunds() where stripe_refund_id = 're_3'),
    '(,succeeded,0)',
    'is kept, of nobody'
);
select is(does(stripe_dispute('dp_d', 'pi_d', 700)), true, 'so is a dispute');
select is((billing.get_account(d())).status, 'active', 'which freezes nobody');
select is(does(stripe_intent('pi_d', 1000, :'early')), true, 'the payment comes');
select is(stands(d(), 'pi_d'), '7 0 frozen | 3 3 0', 'and both count: a part is back, the account is frozen');
select is(
    (select user_id from billing.list_refunds() where stripe_refund_id = 're_3'), d(), 'the refund is of its user'
);
select does(stripe_dispute('dp_d', 'pi_d', 700, 'lost')) \g /dev/null
select is(stands(d(), 'pi_d'), '0 0 active | 10 10 0', 'the dispute too');

reset role;
select is(
    (select user_id from billing.billing_disputes where dispute_id = 'dp_d'), d(), 'which is of its user as well'
);
create function ends_in_order(p_numbers integer[]) returns text language plpgsql as $$
declare
    v_user_id  uuid := somebody(p_numbers);
    v_intent   text := 'pi_' || v_user_id;
    v_purchase billing.purchase;
    v_number   integer;
    v_object   jsonb;
begin
    perform billing.open_account(v_user_id, 'buyer');
    v_purchase := billing.record_purchase(v_user_id, 10);
    foreach v_number in array p_numbers loop
        v_object := case v_number
            when 1 then stripe_intent(v_intent, 1000, v_purchase.purchase_id)
            when 2 then stripe_dispute('dp_' || v_user_id, v_intent, 600)
            when 3 then stripe_dispute('dp_' || v_user_id, v_intent, 600, 'lost')
            when 4 then stripe_refund('re_' || v_user_id, v_intent, 300)
        end;
        perform does(v_object), does(v_object);
    end loop;
    return stands(v_user_id, v_intent);
end
$$;
select set_config('tap.now', '2025-03-10 12:11+00', true) \g /dev/null
select rows_are(
    'select distinct ends_in_order(o) from orders(4) o', $$values ('1 0 active | 9 9 0')$$,
    'R28: payment, refund and dispute end the same way in whatever order they come'
);
create function fails_in_order(p_numbers integer[]) returns text language plpgsql as $$
declare
    v_user_id uuid := somebody(p_numbers);
    v_intent  text := 'pi_' || v_user_id;
    v_number  integer;
begin
    perform buys(v_user_id, 10, v_intent);
    foreach v_number in array p_numbers loop
        perform does(
            stripe_refund('re_' || v_user_id, v_intent, 300, null, (array['pending', 'succeeded', 'failed'])[v_number])
        );
    end loop;
    return stands(v_user_id, v_intent) || (select status from billing.list_refunds(v_user_id));
end
$$;
select set_config('tap.now', '2025-03-10 12:12+00', true) \g /dev/null
select rows_are(
    'select distinct fails_in_order(o) from orders(3) o', $$values ('10 0 active | 0 0 0failed')$$,
    'R27: a refund that failed has failed, also when its success is told later'
);

-- Disputes.

set local role billing_api;
select buys(e(), 10, 'pi_e') \g /dev/null
select is(does(stripe_dispute('dp_1', 'pi_e', 1000, 'warning_needs_response')), true, 'an inquiry');
select is(stands(e(), 'pi_e'), '10 0 active | 0 0 0', 'does not freeze');
select does(stripe_dispute('dp_1', 'pi_e', 1000, 'warning_under_review')) \g /dev/null
select is((billing.get_account(e())).status, 'active', 'nor when it is looked into');
select does(stripe_dispute('dp_1', 'pi_e', 1000, 'warning_closed')) \g /dev/null
select is((billing.get_account(e())).status, 'active', 'nor when it is closed');
select does(stripe_dispute('dp_1', 'pi_e', 1000)) \g /dev/null
select is(stands(e(), 'pi_e'), '10 0 frozen | 0 0 0', 'a dispute does');
select is((billing.deduct_credits(e(), 1)).reason, 'account_frozen', 'nothing is spent meanwhile');
select does(stripe_dispute('dp_1', 'pi_e', 1000, 'under_review')) \g /dev/null
select does(stripe_dispute('dp_2', 'pi_e', 1000)) \g /dev/null
select is((billing.get_account(e())).status, 'frozen', 'a second one too');
select does(stripe_dispute('dp_1', 'pi_e', 1000, 'won')) \g /dev/null
select is((billing.get_account(e())).status, 'frozen', 'one is won: the other holds it');
select does(stripe_dispute('dp_2', 'pi_e', 1000, 'won')) \g /dev/null
select is(stands(e(), 'pi_e'), '10 0 active | 0 0 0', 'both are won: it is free, and nothing was taken');
select does(stripe_dispute('dp_2', 'pi_e', 1000)) \g /dev/null
select is((billing.get_account(e())).status, 'active', 'R27: that it was open is told late, and changes nothing');
select is((billing.deduct_credits(e(), 6)).success, true, 'credits can be spent');
reset role;
select is(
    (select count(*) from billing.credit_ledger where user_id = e() and type not in ('purchase', 'usage')), 0::bigint,
    'no entry was made'
);
set local role billing_api;

-- Lost.

select does(stripe_dispute('dp_3', 'pi_e', 1000)) \g /dev/null
select does(stripe_dispute('dp_3', 'pi_e', 1000, 'lost')) \g /dev/null
select is(
    stands(e(), 'pi_e'), '0 6 active | 10 4 6', 'what is left is taken, what was spent is owed, and the account is free'
);
select entries(e()) as before \gset
select does(stripe_dispute('dp_3', 'pi_e', 1000, 'lost')), does(stripe_dispute('dp_3', 'pi_e', 1000)) \g /dev/null
select is(stands(e(), 'pi_e'), '0 6 active | 10 4 6', 'R28: once');
select is(entries(e()), :before::bigint, 'without another entry');
select does(stripe_refund('re_e', 'pi_e', 400)) \g /dev/null
select is(stands(e(), 'pi_e'), '0 6 active | 10 4 6', 'a refund beyond what was paid asks nothing more back');
reset role;
select rows_are(
    $$
    select type, amount, metadata ->> 'cause' from billing.credit_ledger where user_id = e() and entry_no > 3
    order by entry_no
    $$,
    $$values ('clawback', -4::numeric, 'dispute')$$, 'R23: by a clawback, which is no usage'
);
set local role billing_api;

-- Won after it was lost.

select billing.grant_credits(e(), 7, 'promotion') \g /dev/null
select is(stands(e(), 'pi_e'), '1 0 active | 10 4 6', 'the debt is repaid');
select is(
    does(stripe_dispute('dp_3', 'pi_e', 1000, 'won'), '2025-03-10 12:11+00'), true, 'what was told before the loss'
);
select is(stands(e(), 'pi_e'), '1 0 active | 10 4 6', 'changes nothing');
set local tap.now = '2025-03-11 12:00+00';
select does(stripe_dispute('dp_3', 'pi_e', 1000, 'won')) \g /dev/null
select is(
    stands(e(), 'pi_e'), '7 0 active | 4 4 0',
    'what was repaid comes back; the refund that is left takes what it would have taken without the dispute'
);
select does(stripe_refund('re_e', 'pi_e', 400, p_status => 'failed')) \g /dev/null
select is(stands(e(), 'pi_e'), '11 0 active | 0 0 0', 'and that comes back with it');
select does(stripe_refund('re_e2', 'pi_e', 300)) \g /dev/null
select is(stands(e(), 'pi_e'), '8 0 active | 3 3 0', 'R28: a later refund of the same payment is not missed');
select does(stripe_dispute('dp_3', 'pi_e', 1000, 'lost'), '2025-03-11 12:01+00') \g /dev/null
select is(stands(e(), 'pi_e'), '7 6 active | 10 4 6', 'R28: lost again it takes what it took, whatever came between');
reset role;

create function turns_in_order(p_numbers integer[]) returns text language plpgsql as $$
declare
    v_user_id uuid := somebody(p_numbers);
    v_intent  text := 'pi_' || v_user_id;
    v_number  integer;
begin
    perform buys(v_user_id, 10, v_intent);
    perform billing.deduct_credits(v_user_id, 7);
    foreach v_number in array p_numbers loop
        perform does(
            stripe_dispute(
                'dp_' || v_user_id, v_intent, 800, (array['needs_response', 'won', 'lost', 'won'])[v_number]
            ),
            '2025-03-11 12:00+00'::timestamptz + v_number * interval '1 minute'
        );
    end loop;
    return stands(v_user_id, v_intent);
end
$$;
select set_config('tap.now', '2025-03-11 12:10+00', true) \g /dev/null
select rows_are(
    'select distinct turns_in_order(o) from orders(4) o', $$values ('3 0 active | 0 0 0')$$,
    'R28: of several ends the last one counts, in whatever order they come'
);
-- Refunds and lost disputes are one sum.

select set_config('tap.now', '2025-03-12 12:00+00', true) \g /dev/null
insert into billing.billing_packages (name, amount, price_cents) values ('odd', 10.000000001, 300);
set local role billing_api;
select buys(f(), 10, 'pi_f1') \g /dev/null
select billing.deduct_credits(f(), 6) \g /dev/null
select billing.request_refund(chief(), f(), 4, 'r', true, 'pi_f1') \g /dev/null
select does(stripe_dispute('dp_f1', 'pi_f1', 600, 'lost')) \g /dev/null
select is(
    stands(f(), 'pi_f1'), '0 6 active | 10 4 6',
    'R28: a refund took what was left, so all of a dispute lost later is owed: nothing is missed'
);
select buys(f(), 10, 'pi_f2') \g /dev/null
select is(stands(f(), 'pi_f2'), '4 0 active | 0 0 0', 'the next purchase repays it');
select does(stripe_dispute('dp_f2', 'pi_f2', 1000, 'lost')) \g /dev/null
select is(stands(f(), 'pi_f2'), '0 6 active | 10 4 6', 'if it is lost too, what went for the debt is owed');
select buys(f(), 20, 'pi_f3') \g /dev/null
select billing.request_refund(chief(), f(), 4, 'r', true, 'pi_f3') \g /dev/null
select does(stripe_dispute('dp_f3', 'pi_f3', 2000, 'lost')) \g /dev/null
select is(
    stands(f(), 'pi_f3'), '0 6 active | 20 14 6',
    'R28: lost after a refund it is no more than what was paid: nothing is taken twice'
);
select is(
    (select (refunded_cents, lost_cents)::text from billing.list_payments(f(), 'pi_f3')), '(400,2000)',
    'though more money than that went back'
);
select buys(f(), null, 'pi_odd', 'odd') \g /dev/null
select does(stripe_dispute('dp_o1', 'pi_odd', 100, 'lost')) \g /dev/null
select is(
    stands(f(), 'pi_odd'), '0.666666668 0 active | 3.333333333 3.333333333 0', 'a third of 10.000000001 is cut'
);
select does(stripe_dispute('dp_o2', 'pi_odd', 100, 'lost')), does(stripe_refund('re_o', 'pi_odd', 100)) \g /dev/null
select is(
    stands(f(), 'pi_odd'), '0 2.666666666 active | 10.000000001 4.000000001 2.666666666',
    'two disputes and a refund are the whole: what the dispute did not find is owed, what the refund did not find let go'
);
select buys(f(), 10, 'pi_f4') \g /dev/null
select billing.deduct_credits(f(), (billing.get_account(f())).available) \g /dev/null
select billing.request_refund(chief(), f(), 10, 'r', true, 'pi_f4', p_owe_spent => true) \g /dev/null
select does(stripe_dispute('dp_f4', 'pi_f4', 1000, 'lost')),
    does(stripe_dispute('dp_f5', 'pi_f4', 1000, 'lost')) \g /dev/null
select is(
    stands(f(), 'pi_f4'), '0 10 active | 10 0 10', 'R28: what is owed is no more than what was bought, however often'
);
select does(stripe_dispute('dp_f4', 'pi_f4', 1000, 'won'), '2025-03-12 12:01+00') \g /dev/null
select is(stands(f(), 'pi_f4'), '0 10 active | 10 0 10', 'and no less while anything of it is back');

-- Holds.

select buys(g(), 10, 'pi_g') \g /dev/null
select hold_id as held from billing.hold_credits(g(), 8) \gset
select does(stripe_dispute('dp_g', 'pi_g', 1000, 'lost')) \g /dev/null
select is(stands(g(), 'pi_g'), '8 8 active | 10 2 8', 'what is under a hold is not taken, but owed');
select is((billing.capture_hold(g(), :'held', 8)).success, true, 'the hold can be captured');
select is(stands(g(), 'pi_g'), '0 8 active | 10 2 8', 'and the debt stays');
select does(stripe_dispute('dp_g', 'pi_g', 1000, 'won'), '2025-03-12 12:01+00') \g /dev/null
select is(stands(g(), 'pi_g'), '2 0 active | 0 0 0', 'until the dispute is won');

select billing.hold_credits(g(), 2) \g /dev/null
select does(stripe_dispute('dp_g2', 'pi_g', 1000, 'lost')) \g /dev/null
select is(stands(g(), 'pi_g'), '2 10 active | 10 0 10', 'another one is lost');
select billing.release_hold(g(), hold_id) from billing.list_holds(g()) \g /dev/null
select does(stripe_dispute('dp_g2', 'pi_g', 1000, 'lost')) \g /dev/null
select is(
    stands(g(), 'pi_g'), '2 10 active | 10 0 10', 'what a hold had kept is not taken for debt when Stripe tells of it again'
);

-- Debt for one payment while another one comes back.

select buys(k(), 10, 'pi_k') \g /dev/null
select does(stripe_dispute('dp_k', 'pi_k', 1000, 'lost')) \g /dev/null
select does(stripe_refund('re_k', 'pi_k', 300)) \g /dev/null
select is(stands(k(), 'pi_k'), '0 0 active | 10 10 0', 'a refund of what was lost asks back no more');
select buys(k(), 10, 'pi_k2') \g /dev/null
select billing.deduct_credits(k(), 10) \g /dev/null
select does(stripe_dispute('dp_k2', 'pi_k2', 1000, 'lost')) \g /dev/null
select is(stands(k(), 'pi_k2'), '0 10 active | 10 0 10', 'what another one had bought is owed');
select does(stripe_dispute('dp_k', 'pi_k', 1000, 'won'), '2025-03-12 12:01+00') \g /dev/null
select is(
    stands(k(), 'pi_k'), '0 3 active | 3 3 0', 'R28: the refund is not missed, and what stays repays the other debt'
);

-- Two refunds at Stripe that name one of ours.

select buys(l(), 10, 'pi_l') \g /dev/null
select refund_id as ours from billing.request_refund(chief(), l(), 3, 'r', true, 'pi_l') \gset
select does(stripe_refund('re_l1', 'pi_l', 300, :'ours')) \g /dev/null
select does(stripe_refund('re_l2', 'pi_l', 300, :'ours')) \g /dev/null
select is(stands(l(), 'pi_l'), '4 0 active | 6 6 0', 'both have paid money back, so both count');
select is(
    (billing.request_refund(chief(), l(), 5, 'r', true, 'pi_l')).reason, 'refund_exceeds_payment', 'and no more goes'
);

-- What a frozen account misses.

reset role;
insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, can_purchase_credits, rank)
values ('lasting', 'Lasting', 7, 0, true, 99);
select billing.open_account(h(), 'lasting') \g /dev/null
set local role billing_api;
select buys(h(), 10, 'pi_h') \g /dev/null
select does(stripe_dispute('dp_h', 'pi_h', 1000)) \g /dev/null
select set_config('tap.now', '2025-05-10 12:00+00', true) \g /dev/null
select does(stripe_dispute('dp_h', 'pi_h', 1000, 'under_review')) \g /dev/null
select is(stands(h(), 'pi_h'), '17 0 frozen | 0 0 0', 'an account in dispute gets no tier credits');
select does(stripe_dispute('dp_h', 'pi_h', 1000, 'won')) \g /dev/null
select is(
    stands(h(), 'pi_h'), '31 0 active | 0 0 0', 'R08: when it is won, it gets those of the months that it missed'
);
select does(stripe_dispute('dp_h', 'pi_h', 1000, 'won'), '2025-05-10 12:01+00') \g /dev/null
select is(stands(h(), 'pi_h'), '31 0 active | 0 0 0', 'R08: once');
select billing.set_account_status(chief(), h(), 'closed', 'r') \g /dev/null
select does(stripe_dispute('dp_h2', 'pi_h', 400)) \g /dev/null
select is(stands(h(), 'pi_h'), '31 0 closed | 0 0 0', 'a closed account stays closed while a dispute is open');
select does(stripe_dispute('dp_h2', 'pi_h', 400, 'lost')) \g /dev/null
select is(stands(h(), 'pi_h'), '27 0 closed | 4 4 0', 'and when it is lost');

-- Objects that are not what we know, or of no kind.

select purchase_id as open from billing.record_purchase(f(), 10) \gset
select set_config('tap.open', :'open', true) \g /dev/null
select throws_ok(format('select does(%L)', object), code, name, difference)
from (
    select current_setting('tap.open')::uuid as open
) o
cross join lateral (values
    (null, 'UC400', 'invalid_request', 'nothing'),
    ('{}', 'UC400', 'invalid_request', 'an object of no kind'),
    ('[]', 'UC400', 'invalid_request', 'no object'),
    ('"refund"', 'UC400', 'invalid_request', 'the name of a kind'),
    ('{"object": "charge", "id": "ch_1"}', 'UC400', 'invalid_request', 'a kind that we do not take in'),
    ('{"object": "payment_intent"}', 'UC400', 'invalid_request', 'a payment that tells nothing'),
    (stripe_intent('pi_9', 1000, open) - 'amount_received', 'UC400', 'invalid_request', 'nor how much'),
    (stripe_intent('pi_9', 1000, open) || '{"amount_received": "x"}', 'UC400', 'invalid_request', 'or no number'),
    (stripe_intent('pi_9', 1000, open) || '{"amount_received": 1e30}', 'UC400', 'invalid_request', 'or a huge one'),
    (stripe_session('cs_9', open, 1000, null), 'UC400', 'invalid_request', 'a session that was paid by nothing'),
    ('{"object": "refund", "id": "re_9", "payment_intent": "pi_e"}', 'UC400', 'invalid_request', 'a refund of nothing'),
    ('{"object": "dispute", "id": "dp_9", "payment_intent": "pi_e"}', 'UC400', 'invalid_request', 'a dispute of nothing'),
    ('{"object": "subscription"}', 'UC400', 'invalid_request', 'a subscription to nothing'),
    (stripe_intent('pi_9', 1000, a()), 'UC404', 'purchase_not_found', 'a payment of no purchase'),
    (stripe_intent('pi_9', 1000, a(), 'processing'), 'UC404', 'purchase_not_found', 'also while it is on its way'),
    (stripe_session('cs_9', a(), 1000, 'pi_9'), 'UC404', 'purchase_not_found', 'a session of no purchase'),
    (
        stripe_session('cs_9', a(), 1000, p_mode => 'subscription'), 'UC404', 'checkout_not_found',
        'a session of no checkout'
    ),
    (stripe_intent('pi_9', 1000, p_customer => 'cus_nobody'), 'UC404', 'account_not_found', 'a user without an account'),
    (stripe_session('cs_9', open, 999, 'pi_9'), 'UC409', 'payment_mismatch', 'a session of a cent less'),
    (stripe_session('cs_9', open, 1000, 'pi_9') || '{"currency": "eur"}', 'UC409', 'payment_mismatch', 'of euros'),
    (stripe_session('cs_9', open, 1000, 'pi_9', p_customer => 'cus_b'), 'UC409', 'payment_mismatch', 'of somebody else'),
    (stripe_session('cs_9', open, 1000, 'pi_f1'), 'UC409', 'payment_mismatch', 'a payment that paid something else'),
    (stripe_session('cs_9', open, 1000, 'pi_e'), 'UC409', 'payment_mismatch', 'or is another user''s'),
    (stripe_intent('pi_9', 1001, open), 'UC409', 'payment_mismatch', 'a payment of a cent more')
) c (object, code, name, difference);
select is(bought(f()), 'pending', 'none of it has left a trace');
select is(does(stripe_intent('pi_9', 1000, :'open')), true, 'the right one is taken in');
reset role;
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
