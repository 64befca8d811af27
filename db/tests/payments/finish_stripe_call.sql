-- What Stripe answers to a call is taken in together with the call's end; what it says of subscriptions decides what the
-- account is granted, and when.
\ir ../payments.psql

select billing.open_account(a()) \g /dev/null
select billing.bootstrap_super_admin(chief()) \g /dev/null
create function id(p_kind text) returns uuid language sql as
$$select call_id from billing.stripe_calls where kind = p_kind order by status = 'pending' desc, call_id desc limit 1$$;
create function ends(p_kind text, p_object jsonb) returns text language sql as
$$select status from billing.finish_stripe_call(id(p_kind), p_object)$$;

-- By kind.

select billing.request_customer(a()) \g /dev/null
select rows_are(
    $$
    select call_id, status, stripe_customer_id, next_attempt_at, error
    from billing.finish_stripe_call(id('customer'), '{"id": "cus_a"}')
    $$,
    $$values (id('customer'), 'done', 'cus_a', null::timestamptz, null)$$, 'customer: the user has it from then on'
);
select ends('customer', '{"id": "cus_other"}') \g /dev/null
select is(
    (billing.request_customer(a())).stripe_customer_id, 'cus_a', 'a call that has ended takes in nothing more'
);
select is((select finished_at from billing.stripe_calls), '2025-03-10 12:00+00', 'it is known when it ended');
select checkout_id as early, call_id as early_call from billing.request_checkout(a(), 'tier_2_20') \gset
select billing.request_checkout(a(), 'tier_6_50') \g /dev/null
select rows_are(
    format(
        'select status, error from billing.finish_stripe_call(%L, %L)', :'early_call',
        stripe_session('cs_0', :'early', 2000, null, 'open', 'unpaid', null, 'subscription')
    ),
    $$values ('failed', 'superseded')$$, 'be it done or failed'
);
select is((billing.get_checkout(a(), :'early')).checkout_url, null, 'a session that came too late is not offered');
select billing.fail_stripe_call(id('checkout'), 'not wanted') \g /dev/null

select billing.open_account(e(), 'buyer') \g /dev/null
select customer(e(), 'cus_e') \g /dev/null
select purchase_id as purchase from billing.record_purchase(e(), 20) \gset
select is(
    ends('purchase', stripe_session('cs_1', :'purchase', 2000, null, 'open', 'unpaid')), 'done', 'purchase: done'
);
select rows_are(
    'select status, checkout_url, call_id from billing.list_purchases(e())',
    $$values ('open', 'https://checkout.stripe.com/c/cs_1', null::uuid)$$, 'it can be paid'
);
select billing.complete_purchase(:'purchase', stripe_intent('pi_e', 2000, :'purchase')) \g /dev/null
select refund_id as refund from billing.request_refund(chief(), e(), 5, 'r', true, 'pi_e') \gset
select is(ends('refund', stripe_refund('re_1', 'pi_e', 500, :'refund')), 'done', 'refund: done');
select rows_are(
    'select status, stripe_refund_id, clawed from billing.list_refunds(e())', $$values ('succeeded', 're_1', 5)$$,
    'its status and id at Stripe are known'
);
select billing.set_auto_top_up(e(), true, 100, '10', 50) \g /dev/null
select purchase_id as top_up from billing.request_top_up(e()) \gset
select is(ends('top_up', stripe_intent('pi_top_up', 1000, :'top_up')), 'done', 'top_up: done');
select rows_are(
    format('select status, amount from billing.get_purchase(e(), %L)', :'top_up'), $$values ('paid', 10)$$,
    'it is granted'
);
select is((billing.get_account(e())).balance, 25, 'with what was bought and not refunded');
select purchase_id as top_up from billing.request_top_up(e()) \gset
select is(
    ends('top_up', stripe_intent('pi_slow', 1000, :'top_up', 'processing')), 'done', 'a charge may take days'
);
select is((billing.get_purchase(e(), :'top_up')).status, 'processing', 'it is under way');

select checkout_id as checkout from billing.request_checkout(e(), 'tier_2_20') \gset
select is(
    ends('checkout', stripe_session('cs_2', :'checkout', 2000, null, 'open', 'unpaid', null, 'subscription')), 'done',
    'checkout: done'
);
select rows_are(
    format('select status, checkout_url from billing.get_checkout(e(), %L)', :'checkout'),
    $$values ('open', 'https://checkout.stripe.com/c/cs_2')$$, 'it can be paid'
);

-- What is asked of a payment brings all that belongs to it.

create function payment_call() returns uuid language sql as $$
    select billing_private.queue_stripe_call(e(), 'payment', 'pi_e', '{"payment_intent": "pi_e"}', billing_private.clock())
$$;
select payment_call() \g /dev/null
select is(
    ends('payment', jsonb_build_object(
        'payment_intent', stripe_intent('pi_e', 2000, :'purchase'),
        'refunds', jsonb_build_array(stripe_refund('re_1', 'pi_e', 500, :'refund'), stripe_refund('re_2', 'pi_e', 100)),
        'disputes', jsonb_build_array(stripe_dispute('dp_1', 'pi_e', 1400))
    )), 'done', 'payment: done'
);
select rows_are(
    $$select refunded_cents, lost_cents, disputed, reclaimed from billing.list_payments(e(), 'pi_e')$$,
    'values (600::bigint, 0::bigint, true, 6)', 'refunds and disputes of it are known'
);
select payment_call() \g /dev/null
select is(
    ends('payment', '{"payment_intent": null, "refunds": [], "disputes": []}'), 'done', 'there may be nothing to tell'
);

-- Errors undo all of it, and the call stays pending.

create function refuses(p_kind text, p_object jsonb, p_code text, p_name text) returns text language plpgsql as $$
begin
    return throws_ok(
        format('select billing.finish_stripe_call(%L, %L)', id(p_kind), p_object), p_code, p_name,
        p_kind || ': ' || p_name
    );
end
$$;
select billing.request_sync(a()) \g /dev/null
create function buyer() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000e1'::uuid$$;
select buys(buyer(), 10, 'pi_e1') \g /dev/null
select billing.record_purchase(buyer(), 10) \g /dev/null
select billing.request_refund(chief(), buyer(), 1, 'r', true, 'pi_e1') \g /dev/null
select billing.request_checkout(buyer(), 'tier_2_20') \g /dev/null
insert into billing.billing_customers (user_id, stripe_customer_id, created_at) values (nobody(), 'cus_gone', now());
select refuses('purchase', stripe_session('cs_9', nobody(), 1000), 'UC409', 'payment_mismatch');
select refuses('purchase', '{"object": "checkout.session", "id": "cs_9"}', 'UC409', 'payment_mismatch');
select refuses(
    'checkout', stripe_session('cs_9', nobody(), 1000, p_mode => 'subscription'), 'UC409', 'payment_mismatch'
);
select refuses('refund', stripe_refund('re_9', 'pi_e', 100), 'UC409', 'payment_mismatch');
select refuses('refund', stripe_refund('re_9', 'pi_e1', 99), 'UC409', 'payment_mismatch');
select refuses('refund', stripe_refund('re_1', 'pi_e', 500), 'UC409', 'payment_mismatch');
create function list(variadic p_objects jsonb[]) returns jsonb language sql as
$$select jsonb_build_object('object', 'list', 'data', to_jsonb(p_objects))$$;
select refuses(
    'subscriptions',
    list(stripe_subscription('sub_a', 'cus_a', 'tier_6_50'), stripe_subscription('sub_x', 'cus_x', 'tier_6_50')),
    'UC404', 'customer_not_found'
);
select refuses(
    'subscriptions', list(
        stripe_subscription('sub_a', 'cus_a', 'tier_6_50'),
        stripe_subscription('sub_half', 'cus_a', 'tier_6_50') #- '{items,data,0,current_period_end}'
    ),
    'UC400', 'invalid_request'
);
select refuses('subscriptions', list(stripe_subscription('sub_g', 'cus_gone', 'tier_6_50')), 'UC404', 'account_not_found');
create function newcomer() returns uuid immutable language sql as $$select md5('newcomer')::uuid$$;
select billing.open_account(newcomer()) \g /dev/null
select billing.request_customer(newcomer()) \g /dev/null
select refuses('customer', '{"object": "customer", "id": "cus_a"}', 'UC409', 'payment_mismatch');
select throws_ok(
    format('select billing.finish_stripe_call(%L, ''{}'')', call), 'UC404', 'call_not_found', 'call_not_found'
)
from unnest(array[nobody()::text, null]) call;
select is(
    (
        select string_agg(status, ' ') from billing.stripe_calls
        where call_id in (id('purchase'), id('checkout'), id('refund'), id('subscriptions'))
    ),
    'pending pending pending pending', 'each of them waits still'
);
select is((billing.get_subscription(a())).status, 'none', 'and nothing of it was taken in');
select ends('subscriptions', '{"data": []}') \g /dev/null

-- Subscriptions. A sync reads them at Stripe; a month is granted when somebody looks at the account.

create function sync(p_user_id uuid, variadic p_subscriptions jsonb[]) returns void language plpgsql as $$
declare
    v_call_id uuid := (billing.request_sync(p_user_id)).call_id;
begin
    perform billing.claim_stripe_call(v_call_id);
    perform billing.finish_stripe_call(v_call_id, list(variadic p_subscriptions));
end
$$;
create function look(p_user_id uuid) returns void language sql as $$
    select billing_private.catch_up_grants(
        billing_private.settle_account(billing_private.lock_account(p_user_id), billing_private.clock()),
        billing_private.clock()
    )
$$;
-- Tier, balance, and the tier grants there were.
create function has(p_user_id uuid) returns text language plpgsql as $$
begin
    return (
        select a.tier || ' ' || trim_scale(a.balance) || coalesce(
            ': ' || (
                select string_agg(trim_scale(amount)::text, ' ' order by entry_no)
                from billing.credit_ledger where user_id = p_user_id and type = 'tier_grant'
            ), ''
        )
        from billing.get_account(p_user_id) a
    );
end
$$;
create function monthly(
    p_tier text, p_month int default 3, p_status text default 'active', p_id text default 'sub_a', p_day int default 1
)
returns jsonb language sql as $$
    select stripe_subscription(
        p_id, 'cus_' || right(p_id, 1), p_tier, p_status, make_timestamptz(2025, p_month, p_day, 0, 0, 0, 'UTC'),
        make_timestamptz(2025, p_month, p_day, 0, 0, 0, 'UTC') at time zone 'UTC' + interval '1 month'
    )
$$;
set local timezone = 'UTC';

select sync(a(), stripe_subscription('sub_news', 'cus_a', 'newsletter')) \g /dev/null
select is(has(a()), 'free 5: 5', 'a subscription to something else than a tier is none of ours');
select sync(a(), monthly('tier_2_20')) \g /dev/null
select is(has(a()), 'tier_2_20 25: 5 20', 'a subscription grants what is missing to its tier''s amount');
select sync(a(), monthly('tier_12_100')) \g /dev/null
select is(has(a()), 'tier_12_100 105: 5 20 80', 'an upgrade the difference');
select billing.deduct_credits(a(), 100) \g /dev/null
select sync(a(), monthly(tier))
from unnest(array['tier_2_20', 'tier_12_100', 'free', 'tier_12_100', 'tier_2_20', 'tier_6_50']) tier
\g /dev/null
select is(has(a()), 'tier_12_100 5: 5 20 80', 'R11: up, down, up, down mints nothing');
select rows_are(
    'select tier, next_tier from billing.get_subscription(a())', $$values ('tier_12_100', 'tier_6_50')$$,
    'what is paid stays, the lower tier waits for the next billing period'
);
set local tap.now = '2025-04-01 00:05+00';
select look(a()) \g /dev/null
select is(has(a()), 'tier_12_100 105: 5 20 80 105', 'the next month is granted');
select sync(a(), monthly('tier_6_50', 4)) \g /dev/null
select is(has(a()), 'tier_6_50 105: 5 20 80 105', 'the next billing period brings the lower tier, and takes nothing');
select is((billing.get_subscription(a())).next_tier, null, 'nothing waits any more');
set local tap.now = '2025-05-01 00:05+00';
select look(a()) \g /dev/null
select is(has(a()), 'tier_6_50 55: 5 20 80 105 55', 'from then on it is granted');
select sync(a(), monthly('tier_125_800', 5)) from generate_series(1, 3) \g /dev/null
select is(has(a()), 'tier_125_800 805: 5 20 80 105 55 750', 'an upgrade is granted once, however often it is told');

-- Readings overtake each other.

select billing.open_account(b()) \g /dev/null
select customer(b(), 'cus_b') \g /dev/null
select (billing.request_sync(b())).call_id as early \gset
select billing.claim_stripe_call(:'early') \g /dev/null
set local tap.now = '2025-05-01 00:06+00';
select sync(b(), monthly('tier_2_20', 5, p_id => 'sub_b')) \g /dev/null
select is(has(b()), 'tier_2_20 25: 5 20', 'a reading');
select billing.finish_stripe_call(:'early', list(monthly('tier_12_100', 5, 'active', 'sub_b'))) \g /dev/null
select is(has(b()), 'tier_2_20 25: 5 20', 'an older one that comes later changes nothing');
select sync(b(), monthly('tier_2_20', 5, 'canceled', 'sub_b')) \g /dev/null
select is(has(b()), 'free 25: 5 20', 'its end makes the account free, and takes nothing');
set local tap.now = '2025-05-01 00:07+00';
select sync(b(), monthly('tier_12_100', 5, p_id => 'sub_b')) \g /dev/null
select is(has(b()), 'free 25: 5 20', 'what has ended never comes back');
select is((billing.get_subscription(b())).status, 'none', 'it is none');
set local tap.now = '2025-06-01 00:05+00';
select look(b()) \g /dev/null
select is(has(b()), 'free 5: 5 20 5', 'the next month is that of a free account');

-- The tier of a price: what its metadata says, else its lookup_key.

create function priced(p_price jsonb) returns text language plpgsql as $$
begin
    return billing_private.tier_of_price(stripe_subscription('s', 'c', 'tier_2_20') #> '{items,data,0,price}' || p_price);
end
$$;
select is(priced('{"metadata": {"tier": "tier_6_50"}}'), 'tier_6_50', 'the metadata of a price name its tier');
select is(priced('{"metadata": {}}'), 'tier_2_20', 'else its lookup_key does');
select is(priced('{"metadata": {}, "lookup_key": "credit_billing_tier_12_100_year"}'), 'tier_12_100', 'of a year, too');
select is(priced('{"metadata": {}, "lookup_key": null}'), null, 'else it is of none');

-- Renewals.

select billing.open_account(c()) \g /dev/null
select customer(c(), 'cus_c') \g /dev/null
select sync(c(), monthly('tier_2_20', 6, p_id => 'sub_c', p_day => 1)) \g /dev/null
select is(has(c()), 'tier_2_20 25: 5 20', 'of June');
set local tap.now = '2025-06-30 23:50+00';
select sync(c(), monthly('tier_2_20', 7, p_id => 'sub_c')) from generate_series(1, 2) \g /dev/null
select is(has(c()), 'tier_2_20 25: 5 20', 'R08: a renewal that is early grants nothing');
set local tap.now = '2025-07-02 00:00+00';
select look(c()) from generate_series(1, 2) \g /dev/null
select is(has(c()), 'tier_2_20 25: 5 20 25', 'the month does, once');
select sync(c(), monthly('tier_2_20', 7, p_id => 'sub_c')) from generate_series(1, 2) \g /dev/null
select is(has(c()), 'tier_2_20 25: 5 20 25', 'R08: nor one that is late, or told twice');
set local tap.now = '2025-08-03 00:00+00';
select sync(c(), monthly('tier_2_20', 8, p_id => 'sub_c')) \g /dev/null
select look(c()) \g /dev/null
select is(
    has(c()), 'tier_2_20 25: 5 20 25 25', 'R08: a month whose renewal comes before anybody looks is granted once, too'
);

-- Overdue.

set local tap.now = '2025-09-02 00:00+00';
select sync(c(), monthly('tier_2_20', 9, 'past_due', 'sub_c')) \g /dev/null
select look(c()) \g /dev/null
select is(has(c()), 'tier_2_20 0: 5 20 25 25', 'while a payment is overdue, a month grants nothing');
select sync(c(), monthly('tier_6_50', 9, 'past_due', 'sub_c')) \g /dev/null
select is(has(c()), 'tier_6_50 0: 5 20 25 25', 'nor does an upgrade');
select billing.change_tier(chief(), c(), 'tier_12_100', 'r') \g /dev/null
select billing.change_tier(chief(), c(), 'tier_6_50', 'r') \g /dev/null
select is(has(c()), 'tier_6_50 0: 5 20 25 25', 'nor an admin''s change of tier');
set local tap.now = '2025-09-05 00:00+00';
select sync(c(), monthly('tier_6_50', 9, 'active', 'sub_c')) \g /dev/null
select is(has(c()), 'tier_6_50 55: 5 20 25 25 55', 'the payment brings the month that was missed');
set local tap.now = '2025-10-02 00:00+00';
select sync(c(), monthly('tier_6_50', 10, 'past_due', 'sub_c')) \g /dev/null
set local tap.now = '2025-11-02 00:00+00';
select look(c()) \g /dev/null
select sync(c(), monthly('tier_6_50', 11, 'unpaid', 'sub_c')) \g /dev/null
select is(has(c()), 'tier_6_50 0: 5 20 25 25 55', 'two months long');
select sync(c(), monthly('tier_6_50', 11, 'canceled', 'sub_c')) \g /dev/null
select is(has(c()), 'free 5: 5 20 25 25 55 5', 'its end forfeits what was not paid: what is granted is a free month');
set local tap.now = '2025-12-01 00:00+00';
select look(c()) \g /dev/null
select is(has(c()), 'free 5: 5 20 25 25 55 5 5', 'and the next one');

-- A month that was granted before the payment was overdue stays.

set local tap.now = '2025-12-03 00:00+00';
select billing.open_account(d()) \g /dev/null
select customer(d(), 'cus_d') \g /dev/null
select sync(d(), monthly('tier_2_20', 11, 'active', 'sub_d', 15)) \g /dev/null
select is(has(d()), 'tier_2_20 25: 5 20', 'granted');
select sync(d(), monthly('tier_2_20', 11, 'past_due', 'sub_d', 15)) \g /dev/null
select sync(d(), monthly('tier_2_20', 11, 'canceled', 'sub_d', 15)) \g /dev/null
select is(has(d()), 'free 25: 5 20', 'nothing is taken, and nothing comes on top');
select sync(d(), monthly('tier_6_50', 12, 'active', 'sub_1_d')) \g /dev/null
select is(has(d()), 'tier_6_50 55: 5 20 30', 'another subscription grants the difference to what there was');

-- Two subscriptions.

select sync(d(), monthly('tier_2_20', 12, p_id => 'sub_2_d')) \g /dev/null
select is(has(d()), 'tier_6_50 55: 5 20 30', 'of two subscriptions the higher tier counts');
select sync(d(), monthly('tier_6_50', 12, 'canceled', 'sub_1_d')) \g /dev/null
select is(has(d()), 'tier_2_20 55: 5 20 30', 'when it ends, the other one does');
select sync(d(), monthly('tier_12_100', 12, p_id => 'sub_3_d'), monthly('tier_2_20', 12, 'canceled', 'sub_2_d'))
\g /dev/null
select is(has(d()), 'tier_12_100 105: 5 20 30 50', 'one list may tell of several');

-- One that is overdue, and another one.

create function z() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000f2'::uuid$$;
select billing.open_account(z()) \g /dev/null
select customer(z(), 'cus_z') \g /dev/null
select sync(z(), monthly('tier_12_100', 12, p_id => 'sub_1_z')) \g /dev/null
set local tap.now = '2026-01-02 00:00+00';
select sync(z(), monthly('tier_12_100', 12, 'past_due', 'sub_1_z')) \g /dev/null
select sync(z(), monthly('tier_2_20', 12, p_id => 'sub_2_z')) \g /dev/null
select is(has(z()), 'tier_2_20 25: 5 100 25', 'another subscription that is paid brings the month of its own tier');
select sync(z(), monthly('tier_12_100', 12, p_id => 'sub_1_z')) \g /dev/null
select is(has(z()), 'tier_12_100 105: 5 100 25 80', 'the overdue one, when it is paid, the difference');
select sync(z(), monthly('tier_12_100', 12, 'past_due', id)) from unnest(array['sub_1_z', 'sub_2_z']) id \g /dev/null
set local tap.now = '2026-02-02 00:00+00';
select sync(z(), monthly('tier_25_200', 12, p_id => 'sub_1_z')) \g /dev/null
select is(
    has(z()), 'tier_25_200 205: 5 100 25 80 105 100',
    'an upgrade that pays brings what was missed, then the difference'
);

-- A closed account.

select billing.set_account_status(chief(), z(), 'closed', 'r') \g /dev/null
select sync(z(), monthly('tier_50_400', 12, p_id => 'sub_1_z')) \g /dev/null
set local tap.now = '2026-03-02 00:00+00';
select sync(z(), monthly('tier_50_400', 12, status, 'sub_1_z'))
from unnest(array['past_due', 'active']) status \g /dev/null
select is(
    has(z()), 'tier_50_400 0: 5 100 25 80 105 100', 'a closed account follows its subscription, and is granted nothing'
);
select billing.set_account_status(chief(), z(), 'active', 'r') \g /dev/null
select is(has(z()), 'tier_50_400 405: 5 100 25 80 105 100 405', 'until it reopens');

-- Two of the same tier, and one that was not paid at first.

create function w() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000f3'::uuid$$;
select billing.open_account(w()) \g /dev/null
select customer(w(), 'cus_w') \g /dev/null
select sync(w(), monthly('tier_2_20', 12, p_id => 'sub_1_w')) \g /dev/null
set local tap.now = '2026-04-02 00:00+00';
select sync(w(), monthly('tier_2_20', 12, 'past_due', 'sub_1_w')) \g /dev/null
select sync(w(), monthly('tier_2_20', 12, 'incomplete', 'sub_2_w')) \g /dev/null
select is(has(w()), 'tier_2_20 0: 5 20', 'one that nobody has paid yet changes nothing');
select sync(w(), monthly('tier_2_20', 12, p_id => 'sub_2_w')) \g /dev/null
select is(has(w()), 'tier_2_20 25: 5 20 25', 'when it is paid it brings the month, of the same tier too');
select sync(w(), monthly('tier_12_100', 12, 'incomplete', 'sub_3_w')) \g /dev/null
select sync(w(), monthly('tier_6_50', 12, p_id => 'sub_3_w')) \g /dev/null
select is(
    has(w()), 'tier_6_50 55: 5 20 25 30', 'a higher tier that was never paid is not kept to the end of the period'
);

-- By the year.

create function yearly(p_tier text) returns jsonb language sql as
$$select stripe_subscription('sub_y', 'cus_y', p_tier, 'active', '2026-04-15 00:00+00', '2027-04-15 00:00+00', 'year')$$;
set local tap.now = '2026-04-15 00:00+00';
create function y() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000f1'::uuid$$;
select billing.open_account(y()) \g /dev/null
select customer(y(), 'cus_y') \g /dev/null
select sync(y(), yearly('tier_2_20')) \g /dev/null
create function year_passes() returns void language plpgsql as $$
begin
    for v_month in 5..15 loop
        perform set_config('tap.now', (timestamptz '2026-01-01 06:00+00' + interval '1 month' * (v_month - 1))::text, true);
        perform look(y());
        perform sync(y(), yearly('tier_2_20'));
        perform look(y());
    end loop;
end
$$;
select year_passes() \g /dev/null
select is(
    has(y()), 'tier_2_20 25: 5 20 25 25 25 25 25 25 25 25 25 25 25',
    'R12: a yearly subscription gets the same every month'
);
select sync(y(), yearly('free')) \g /dev/null
select is((billing.get_account(y())).tier, 'tier_2_20', 'its year is paid to its end');
select sync(y(), stripe_subscription('sub_y', 'cus_y', 'free', 'active', '2027-03-02 00:00+00', '2027-04-02 00:00+00'))
\g /dev/null
select is((billing.get_account(y())).tier, 'free', 'unless a change of interval begins a new period');

-- A tier that is sold no more.

set local tap.now = '2026-05-01 00:00+00';
create function zed() returns uuid immutable language sql as $$select md5('zed')::uuid$$;
insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, rank) values ('retired', 'R', 9, 900, 9);
select billing.open_account(zed()) \g /dev/null
select customer(zed(), 'cus_zed') \g /dev/null
select sync(zed(), stripe_subscription('sub_zed', 'cus_zed', 'retired')) \g /dev/null
select billing.change_tier(chief(), zed(), 'free', 'r') \g /dev/null
delete from billing.billing_tiers where name = 'retired';
select sync(
    zed(), stripe_subscription('sub_zed', 'cus_zed', 'retired'), stripe_subscription('sub_zed2', 'cus_zed', 'tier_2_20')
) \g /dev/null
select is((billing.get_account(zed())).tier, 'tier_2_20', 'a subscription to it keeps none of the others waiting');
select sync(zed(), stripe_subscription('sub_zed', 'cus_zed', 'retired', 'canceled')) \g /dev/null
select is(
    (select status from billing.billing_subscriptions where stripe_subscription_id = 'sub_zed'), 'canceled', 'and can end'
);
select sync(zed(), jsonb_set(
    stripe_subscription('sub_week', 'cus_zed', 'tier_6_50'), '{items,data,0,price,recurring,interval}', '"week"'
)) \g /dev/null
select is((billing.get_account(zed())).tier, 'tier_2_20', 'a price by the week is of no tier');

-- What was not even charged is not granted when it goes on.

create function wed() returns uuid immutable language sql as $$select md5('wed')::uuid$$;
insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, rank) values ('lasting', 'L', 9, 900, 9);
select billing.open_account(wed()) \g /dev/null
select customer(wed(), 'cus_wed') \g /dev/null
select sync(wed(), stripe_subscription('sub_wed', 'cus_wed', 'lasting')) \g /dev/null
select sync(wed(), stripe_subscription('sub_wed', 'cus_wed', 'lasting', 'unpaid')) \g /dev/null
set local tap.now = '2026-09-10 00:00+00';
select look(wed()) \g /dev/null
select sync(wed(), stripe_subscription('sub_wed', 'cus_wed', 'lasting')) \g /dev/null
select is(has(wed()), 'lasting 13: 5 4 9', 'months in which it was unpaid are forfeited, this one is granted');

select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
