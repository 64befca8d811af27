-- An event is applied once, with all that it means or not at all. Of a subscription it tells only what holds at any time,
-- and is a reason to read it.
\ir ../payments.psql

select billing.open_account(u) from unnest(array[a(), b(), c()]) u \g /dev/null
select customer(u, 'cus_' || right(u::text, 1)) from unnest(array[a(), b(), c()]) u \g /dev/null
create function stores(p_id text, p_type text, p_object jsonb) returns void language sql as
$$select billing.record_stripe_event(stripe_event(p_id, p_type, p_object))$$;
-- How it ended, and the reading that it led to.
create function applies(p_id text, p_type text, p_object jsonb) returns text language plpgsql as $$
declare
    v_event billing.stripe_event;
begin
    perform stores(p_id, p_type, p_object);
    v_event := billing.apply_stripe_event(p_id);
    return concat_ws(
        ' ', v_event.status,
        (select kind || ' ' || subject_id from billing.stripe_calls where call_id = v_event.call_id)
    );
end
$$;
create function balance(p_user_id uuid) returns numeric language sql as 'select balance from billing.get_account(p_user_id)';

-- Once.

select billing.open_account(e(), 'buyer') \g /dev/null
select purchase_id as purchase from billing.record_purchase(e(), 20) \gset
select stores('evt_1', 'payment_intent.succeeded', stripe_intent('pi_1', 2000, :'purchase')) \g /dev/null
select is(balance(e()), 0, 'storing an event moves nothing');
set local tap.now = '2025-03-10 12:00:01+00';
select rows_are(
    $$select * from billing.apply_stripe_event('evt_1')$$,
    $$
    values (
        'evt_1', 'payment_intent.succeeded', 'processed', 0, null, null::timestamptz,
        '2025-03-10 12:00+00'::timestamptz,
        '2025-03-10 12:00+00'::timestamptz, '2025-03-10 12:00:01+00'::timestamptz, null::uuid
    )
    $$,
    'applying it does'
);
select is(balance(e()), 20, 'what it means');
set local tap.now = '2025-03-10 13:00+00';
update billing.stripe_events set payload = jsonb_set(payload, '{data,object,id}', '"pi_2"') where event_id = 'evt_1';
select rows_are(
    $$select status, processed_at from billing.apply_stripe_event('evt_1')$$,
    $$values ('processed', '2025-03-10 12:00:01+00'::timestamptz)$$, 'R14: again, it is as it was, and is not looked at'
);
select is(
    applies('evt_2', 'checkout.session.completed', stripe_session('cs_1', :'purchase', 2000, 'pi_1')), 'processed',
    'another event'
);
select is(balance(e()), 20, 'of the same payment grants nothing');

-- All or nothing.

select stores('evt_3', 'customer.subscription.created', stripe_subscription('sub_b', 'cus_late', 'tier_2_20'))
\g /dev/null
-- Every row of every table, in a few bytes.
create function all_rows() returns text language plpgsql as $$
declare
    v_table regclass;
    v_rows  text;
    v_all   text := '';
begin
    for v_table in
        select oid from pg_class where relnamespace = 'billing'::regnamespace and relkind = 'r' order by relname
    loop
        execute format('select string_agg(t::text, '' '' order by t::text) from %s t', v_table) into v_rows;
        v_all := concat(v_all, v_table, v_rows);
    end loop;
    return md5(v_all);
end
$$;
create function fails(p_event text, p_code text, p_name text) returns text language plpgsql as $$
declare
    v_before text := all_rows();
    v_state  text;
    v_error  text;
begin
    begin
        perform billing.apply_stripe_event(p_event);
    exception
        when others then
            get stacked diagnostics v_state = returned_sqlstate, v_error = message_text;
    end;
    return is(
        concat_ws(' ', v_state, v_error, all_rows() = v_before), concat_ws(' ', p_code, p_name, true),
        format('R13: %s, and nothing has changed', p_name)
    );
end
$$;
select fails('evt_3', 'UC404', 'customer_not_found');
select is(
    (select status from billing.list_due_stripe_events() where event_id = 'evt_3'), null, 'R13: it is not applied'
);
set local tap.now = '2025-03-10 13:00:30+00';
select is(
    (select status from billing.list_due_stripe_events() where event_id = 'evt_3'), 'pending',
    'R13: and will be tried again'
);
update billing.billing_customers set stripe_customer_id = 'cus_late' where user_id = b();
select is((billing.apply_stripe_event('evt_3')).status, 'processed', 'R13: when it can be applied, it is');
select stores('evt_4', 'payment_intent.succeeded', stripe_intent('pi_4', 2000, nobody())) \g /dev/null
select fails('evt_4', 'UC404', 'purchase_not_found');
select stores('evt_5', 'checkout.session.completed', stripe_session('cs_5', nobody(), 2000, p_mode => 'subscription'))
\g /dev/null
select fails('evt_5', 'UC404', 'checkout_not_found');
select stores('evt_6', 'payment_intent.succeeded', stripe_intent('pi_6', 2000, :'purchase')) \g /dev/null
select fails('evt_6', 'UC409', 'payment_mismatch');
select stores(
    'evt_7', 'customer.subscription.created',
    stripe_subscription('sub_7', 'cus_a', 'gold') || '{"metadata": {"checkout_id": "c"}}'
) \g /dev/null
select fails('evt_7', 'UC404', 'unknown_tier');
insert into billing.billing_customers (user_id, stripe_customer_id, created_at) values (nobody(), 'cus_gone', now());
select stores('evt_8', 'customer.subscription.created', stripe_subscription('sub_8', 'cus_gone', 'tier_2_20'))
\g /dev/null
select fails('evt_8', 'UC404', 'account_not_found');
select throws_ok(
    format('select billing.apply_stripe_event(%L)', event), 'UC404', 'event_not_found',
    'there is no event ' || coalesce(event, 'null')
)
from unnest(array['evt_none', null]) event;

-- What is none of ours.

select is(applies('evt_o' || n, type, object), 'ignored', format('%s of somebody else is ignored', type))
from (values
    (1, 'payment_intent.succeeded', stripe_intent('pi_o', 100, null, 'succeeded', 'cus_other')),
    (2, 'checkout.session.completed', stripe_session('cs_o', null, 100, 'pi_o')),
    (3, 'customer.subscription.created', stripe_subscription('sub_o', 'cus_other', 'newsletter')),
    (4, 'invoice.paid', '{"object": "invoice", "customer": "cus_other"}'),
    (5, 'charge.refunded', '{"object": "charge", "payment_intent": "pi_o", "amount_refunded": 100}'),
    (6, 'charge.refunded', '{"object": "charge", "payment_intent": null, "amount_refunded": 100}'),
    (7, 'refund.created', '{"object": "refund", "id": "re_o", "payment_intent": null}'),
    (8, 'charge.dispute.created', '{"object": "dispute", "id": "dp_o", "payment_intent": null}'),
    (9, 'customer.created', '{"object": "customer"}')
) c (n, type, object);
select is(
    (select count(*) from billing.stripe_calls where status = 'pending' and user_id <> b() and kind <> 'purchase'),
    0::bigint,
    'and leads to nothing'
);

-- By type.

select billing.record_purchase(e(), 30) \g /dev/null
select purchase_id as slow from billing.list_purchases(e()) where status = 'pending' \gset
select is(
    applies('evt_p1', 'checkout.session.completed', stripe_session('cs_s', :'slow', 3000, 'pi_s', 'complete', 'unpaid')),
    'processed', 'a session may be complete and not paid yet'
);
select is((billing.get_purchase(e(), :'slow')).status, 'processing', 'then the money is under way');
select is(
    applies(
        'evt_p2', 'checkout.session.async_payment_failed',
        stripe_session('cs_s', :'slow', 3000, 'pi_s', 'complete', 'unpaid')
    ),
    'processed', 'and may not come'
);
select is((billing.get_purchase(e(), :'slow')).status, 'failed', 'which the purchase tells');
select is(
    applies('evt_p3', 'checkout.session.async_payment_succeeded', stripe_session('cs_s', :'slow', 3000, 'pi_s')),
    'processed', 'or come after all'
);
select is((billing.get_purchase(e(), :'slow')).status || ' ' || balance(e()), 'paid 50', 'R27: then it is granted');
select applies(
    'evt_p4', 'checkout.session.async_payment_failed',
    stripe_session('cs_s', :'slow', 3000, 'pi_s', 'complete', 'unpaid')
)
\g /dev/null
select applies('evt_p5', 'checkout.session.expired', stripe_session('cs_s', :'slow', 3000, 'pi_s', 'expired', 'unpaid'))
\g /dev/null
select is(
    (billing.get_purchase(e(), :'slow')).status || ' ' || balance(e()), 'paid 50',
    'R27: a failure that is told late changes nothing'
);
select is(
    applies('evt_r1', 'refund.created', stripe_refund('re_1', 'pi_s', 600)), 'processed', 'a refund made at Stripe'
);
select is(balance(e()), 44, 'takes its share back');
select is(
    applies('evt_r2', 'charge.refunded', '{"object": "charge", "payment_intent": "pi_s", "amount_refunded": 600}'),
    'processed', 'a charge whose refunds are known tells nothing new'
);
select is(
    applies('evt_r3', 'charge.refunded', '{"object": "charge", "payment_intent": "pi_s", "amount_refunded": 900}'),
    'processed payment pi_s', 'one with more than is known lets the payment be read'
);
select is(
    (select request from billing.stripe_calls where kind = 'payment'), '{"payment_intent": "pi_s"}',
    'with all its refunds'
);
select is(
    applies('evt_r4', 'charge.refund.updated', stripe_refund('re_1', 'pi_s', 600, null, 'failed')), 'processed',
    'a refund that failed'
);
select is(balance(e()), 50, 'gives it back');
select is(applies('evt_d1', 'charge.dispute.created', stripe_dispute('dp_1', 'pi_s', 3000)), 'processed', 'a dispute');
select is((billing.get_account(e())).status, 'frozen', 'freezes the account');
select is(
    applies('evt_d2', 'charge.dispute.closed', stripe_dispute('dp_1', 'pi_s', 3000, 'won')), 'processed',
    'one that was won'
);
select is((billing.get_account(e())).status, 'active', 'frees it');

-- Subscriptions.

create function told(
    p_tier text, p_status text default 'active', p_start timestamptz default '2025-03-05 00:00+00',
    p_type text default 'updated'
)
returns text language sql as $$
    select applies(
        'evt_' || gen_random_uuid(), 'customer.subscription.' || p_type,
        stripe_subscription('sub_a', 'cus_a', p_tier, p_status, p_start, p_start + interval '1 month')
    )
$$;
create function read(
    p_tier text, p_status text default 'active', p_start timestamptz default '2025-03-05 00:00+00'
)
returns void language plpgsql as $$
declare
    v_call_id uuid := (billing.request_sync(a())).call_id;
begin
    perform billing.claim_stripe_call(v_call_id);
    perform billing.finish_stripe_call(v_call_id, jsonb_build_object('data', jsonb_build_array(
        stripe_subscription('sub_a', 'cus_a', p_tier, p_status, p_start, p_start + interval '1 month')
    )));
end
$$;
create function has() returns text language sql as $$
    select concat_ws(' ', a.tier, trim_scale(a.balance), s.status, 'then ' || s.next_tier)
    from billing.get_account(a()) a, billing.get_subscription(a()) s
$$;
select is(
    told('tier_2_20', p_type => 'created'), 'processed subscriptions ' || a(),
    'an event of a subscription lets it be read'
);
select is(has(), 'free 5 none', 'it alone is no proof that it is so still');
select told('tier_2_20') from generate_series(1, 3) \g /dev/null
select is(
    (select count(*) from billing.stripe_calls where user_id = a() and kind = 'subscriptions'), 1::bigint,
    'one reading serves several events'
);
select is(
    applies('evt_i1', 'invoice.paid', '{"object": "invoice", "customer": "cus_a"}'), 'processed subscriptions ' || a(),
    'and invoices'
);
select is(has(), 'free 5 none', 'invoices never grant');
select read('tier_2_20') \g /dev/null
select is(has(), 'tier_2_20 25 active', 'the reading tells how it is');
select told('tier_6_50') \g /dev/null
select is(has(), 'tier_6_50 55 active', 'a higher tier in the same period was paid for');
select told('tier_2_20') \g /dev/null
select is(has(), 'tier_6_50 55 active', 'a lower one may be what was before it');
select read('tier_2_20') \g /dev/null
select is(has(), 'tier_6_50 55 active then tier_2_20', 'or what is wanted next: the reading tells');
select told('tier_12_100') \g /dev/null
select is(
    has(), 'tier_12_100 105 active then tier_2_20', 'a higher tier counts even when it is told after a later reading'
);
select billing.deduct_credits(a(), 100) \g /dev/null
select told(tier) from unnest(array['tier_2_20', 'tier_12_100', 'tier_6_50', 'tier_12_100']) tier \g /dev/null
select is(has(), 'tier_12_100 5 active then tier_2_20', 'R11: up, down, up, down mints nothing');
select told('tier_25_200', p_start => start)
from unnest(array['2025-02-05 00:00+00', '2025-04-05 00:00+00']::timestamptz[]) start \g /dev/null
select is(has(), 'tier_12_100 5 active then tier_2_20', 'a higher tier of another period does not count');
select told('tier_25_200', status) from unnest(array['past_due', 'unpaid', 'incomplete', 'paused']) status \g /dev/null
select is(has(), 'tier_12_100 5 active then tier_2_20', 'nor one that was not paid');
select read('tier_12_100', 'past_due') \g /dev/null
select told('tier_25_200') \g /dev/null
select is(has(), 'tier_12_100 5 past_due', 'nor does it, while the payment is overdue, tell that it came');
select told('tier_12_100', 'active') \g /dev/null
select is(has(), 'tier_12_100 5 past_due', 'nor that it did, for the event may be from before');
select read('tier_12_100') \g /dev/null
select told('tier_12_100', 'canceled', p_type => 'deleted') \g /dev/null
select is(has(), 'free 5 none', 'what has ended never comes back, so the event of its end is enough');
set local tap.now = '2025-03-11 00:00+00';
select told('tier_6_50') \g /dev/null
select told('tier_25_200', p_start => '2025-02-05 00:00+00') \g /dev/null
select read('tier_25_200') \g /dev/null
select is(has(), 'free 5 none', 'nothing that is told later changes that');
select told('tier_25_200') \g /dev/null
select told('tier_25_200') \g /dev/null
select is(has(), 'free 105 none', 'but an upgrade that was paid for is granted, once, when it is heard of late');

set local tap.now = '2025-04-01 00:10+00';
select told('tier_125_800') \g /dev/null
select is(has(), 'free 0 none', 'it is one of the month in which the subscription ended');
set local tap.now = '2025-04-02 00:00+00';

-- A checkout.

select checkout_id as checkout from billing.request_checkout(c(), 'tier_2_20') \gset
select is(
    applies(
        'evt_c1', 'checkout.session.completed',
        stripe_session('cs_c', :'checkout', 2000, null, p_customer => 'cus_c', p_mode => 'subscription')
    ),
    'processed subscriptions ' || c(), 'a checkout that is complete lets the subscription be read'
);
select is((billing.get_checkout(c(), :'checkout')).status, 'complete', 'and tells it');
select is((billing.get_account(c())).tier, 'free', 'before that nothing is granted');
select throws_ok(
    $$select billing.request_checkout(c(), 'tier_6_50')$$, 'UC409', 'change_pending',
    'nor can another one be bought until it was read'
);
select billing.finish_stripe_call(call_id, '{"data": []}')
from billing.stripe_calls where user_id = c() and kind = 'subscriptions' \g /dev/null
select checkout_id as left from billing.request_checkout(c(), 'tier_6_50') \gset
select is(
    applies(
        'evt_c2', 'checkout.session.expired',
        stripe_session('cs_l', :'left', 5000, null, 'expired', 'unpaid', 'cus_c', 'subscription')
    ),
    'processed', 'one that nobody finished does not'
);
select is((billing.get_checkout(c(), :'left')).status, 'expired', 'it is over');
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
