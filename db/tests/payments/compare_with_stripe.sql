-- Equal worlds have no difference; what Stripe and we tell differently is told once, and whether Stripe's word is safe to
-- take.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
create temp table theirs (id text primary key, object jsonb);
create function at_stripe(p_object jsonb) returns void language sql as $$
    insert into theirs values (p_object ->> 'id', p_object)
    on conflict (id) do update set object = excluded.object
$$;
create function both_tell(p_object jsonb) returns void language sql as
'select at_stripe(p_object); select billing.record_stripe_object(p_object)';
-- Of three days, in the middle of the last one.
create function compared() returns setof billing.difference language plpgsql as $$
declare
    v_now text := current_setting('tap.now');
begin
    perform set_config('tap.now', '2025-03-11 12:00+00', true);
    return query
        select d.* from billing.compare_with_stripe(
            (select coalesce(jsonb_agg(object order by id), '[]') from theirs),
            '2025-03-09 00:00+00', '2025-03-12 00:00+00'
        ) d;
    perform set_config('tap.now', v_now, true);
end
$$;
create function differs(p_kind text, p_id text, p_user uuid, p_problem text, p_ours text, p_theirs text, p_fixable boolean)
returns text language sql as $$
    select rows_are(
        'select * from compared()',
        format(
            'values (%L, %L, %L::uuid, %L, %L, %L, %L::boolean)', p_kind, p_id, p_user, p_problem, p_ours, p_theirs,
            p_fixable
        ),
        p_problem || ', and nothing else'
    )
$$;
create function same(p_promise text) returns text language sql as $$select is_empty('select * from compared()', p_promise)$$;
-- By taking Stripe's word, as the reconciliation does.
create function fix(p_id text) returns text language sql as $$
    select billing.record_stripe_object(object) from theirs where id = p_id;
    select same('which is put right by taking Stripe''s word');
$$;

select same('two empty worlds are equal');

-- Equal.

select buys(a(), 20, 'pi_a') \g /dev/null
select customer(a(), 'cus_a') \g /dev/null
select at_stripe(stripe_intent('pi_a', 2000, purchase_id)) from billing.list_purchases(a()) \g /dev/null
select both_tell(stripe_refund('re_a', 'pi_a', 100)) \g /dev/null
select both_tell(stripe_dispute('dp_a', 'pi_a', 100)) \g /dev/null
select both_tell(stripe_subscription('sub_a', 'cus_a', 'tier_2_20')) \g /dev/null
select both_tell(stripe_subscription('sub_old', 'cus_a', 'tier_6_50', 'canceled')) \g /dev/null
select billing.request_refund(chief(), a(), 1, 'r') \g /dev/null
select same('what both tell alike is no difference');

-- What is somebody else's.

select at_stripe(stripe_intent('pi_o', 100, null, 'succeeded', 'cus_other')) \g /dev/null
select at_stripe(stripe_intent('pi_open', 100, null, 'requires_payment_method', 'cus_a')) \g /dev/null
select at_stripe(stripe_refund('re_o', 'pi_o', 100)) \g /dev/null
select at_stripe(stripe_dispute('dp_o', 'pi_o', 100)) \g /dev/null
select at_stripe(stripe_subscription('sub_o', 'cus_other', 'tier_2_20')) \g /dev/null
select at_stripe(stripe_subscription('sub_news', 'cus_a', 'newsletter')) \g /dev/null
select at_stripe(stripe_subscription('sub_over', 'cus_a', 'tier_2_20', status))
from unnest(array['canceled', 'incomplete_expired']) status \g /dev/null
select same('nor is what is of other customers, not paid, for something else, or over');

select at_stripe(stripe_subscription('sub_new', 'cus_a', 'gold') || '{"metadata": {"checkout_id": "c"}}') \g /dev/null
select differs(
    'subscription', 'sub_new', a(), 'subscription_not_booked', 'nothing',
    'active price_gold_month until 2025-04-01 00:00:00',
    false
);
delete from theirs where id = 'sub_new';

-- Payments.

create function purchase() returns uuid language sql as
$$select purchase_id from billing.credit_purchases where amount = 30$$;
select billing.change_tier(chief(), a(), 'buyer', 'r') \g /dev/null
delete from billing.account_freezes;
update billing.credit_accounts set status = 'active';
select billing.record_purchase(a(), 30) \g /dev/null
select same('what waits for its payment is no difference');
select at_stripe(stripe_intent('pi_b', 3000, purchase(), 'succeeded', 'cus_a')) \g /dev/null
select differs('payment', 'pi_b', a(), 'payment_not_booked', 'nothing', '3000 usd', true);
select fix('pi_b');
select is((billing.get_purchase(a(), purchase())).status, 'paid', 'the purchase is granted');
select at_stripe(stripe_intent('pi_s', 2000, null, 'succeeded', 'cus_a')) \g /dev/null
select differs('payment', 'pi_s', a(), 'payment_not_booked', 'nothing', '2000 usd', true);
select fix('pi_s');
select at_stripe(stripe_intent('pi_x', 3000, nobody(), 'succeeded', 'cus_a')) \g /dev/null
select differs('payment', 'pi_x', a(), 'unknown_purchase', 'nothing', '3000 usd', false);
delete from theirs where id = 'pi_x';
select at_stripe(stripe_intent('pi_b', 2999, purchase(), 'succeeded', 'cus_a')) \g /dev/null
select differs('payment', 'pi_b', a(), 'payment_differs', '3000 usd', '2999 usd', false);
select at_stripe(stripe_intent('pi_b', 3000, purchase(), 'succeeded', 'cus_a', 'eur')) \g /dev/null
select differs('payment', 'pi_b', a(), 'payment_differs', '3000 usd', '3000 eur', false);
select at_stripe(stripe_intent('pi_b', 3000, purchase(), 'succeeded', 'cus_a')) \g /dev/null
select at_stripe(stripe_intent('pi_b', 3000, purchase_id, 'succeeded', 'cus_a'))
from billing.list_payments(a(), 'pi_a') \g /dev/null
select differs('payment', 'pi_b', a(), 'payment_differs', '3000 usd', '3000 usd', false);
select at_stripe(stripe_intent('pi_b', 3000, null, 'succeeded', 'cus_a')) \g /dev/null
select same('we may know better what a payment was for');
select billing.record_purchase(a(), 20) \g /dev/null
select at_stripe(stripe_intent('pi_s', 2000, purchase_id, 'succeeded', 'cus_a'))
from billing.list_purchases(a()) where status = 'pending' \g /dev/null
select differs('payment', 'pi_s', a(), 'purchase_not_granted', '2000 usd', '2000 usd', true);
select fix('pi_s');
delete from theirs where id = 'pi_s';
select differs('payment', 'pi_s', a(), 'payment_not_at_stripe', '2000 usd', 'nothing', false);
update billing.billing_payments set created_at = '2025-03-08 23:59:59+00' where payment_intent_id = 'pi_s';
select same('what is from before the window is not missed');
update billing.billing_payments set created_at = '2025-03-11 11:50+00' where payment_intent_id = 'pi_s';
select same('nor what is from the last ten minutes');
update billing.billing_payments set created_at = '2025-03-11 11:49:59+00' where payment_intent_id = 'pi_s';
select is((select problem from compared()), 'payment_not_at_stripe', 'which what is older is');
update billing.billing_payments set created_at = '2025-03-09 00:00+00' where payment_intent_id = 'pi_s';
select is((select problem from compared()), 'payment_not_at_stripe', 'from the beginning of the window on');
select at_stripe(stripe_intent('pi_s', 2000, purchase_id))
from billing.billing_payments where payment_intent_id = 'pi_s' \g /dev/null
select same('until Stripe lists it');

-- Refunds.

select at_stripe(stripe_refund('re_b', 'pi_b', 500)) \g /dev/null
select differs('refund', 're_b', a(), 'refund_not_booked', 'nothing', '500 succeeded', true);
select fix('re_b');
select at_stripe(stripe_refund('re_b', 'pi_b', 500, null, 'failed')) \g /dev/null
select differs('refund', 're_b', a(), 'refund_differs', '500 succeeded', '500 failed', true);
select fix('re_b');
select at_stripe(stripe_refund('re_b', 'pi_b', 499, null, 'failed')) \g /dev/null
select differs('refund', 're_b', a(), 'refund_differs', '500 failed', '499 failed', false);
delete from theirs where id = 're_b';
select differs('refund', 're_b', a(), 'refund_not_at_stripe', '500 failed', 'nothing', false);
select at_stripe(stripe_refund('re_b', 'pi_b', 500, null, 'failed')) \g /dev/null
select refund_id as refund, call_id as call from billing.request_refund(chief(), a(), 1, 'r', true, 'pi_b') \gset
select differs('refund', :'refund', a(), 'refund_waits', '100 requested', 'nothing', false);
select billing.fail_stripe_call(:'call', 'no') \g /dev/null
select same('a refund that Stripe refused is at neither');

-- Disputes.

select at_stripe(stripe_dispute('dp_b', 'pi_b', 3000)) \g /dev/null
select differs('dispute', 'dp_b', a(), 'dispute_not_booked', 'nothing', '3000 needs_response', true);
select fix('dp_b');
select at_stripe(stripe_dispute('dp_b', 'pi_b', 3000, 'won')) \g /dev/null
select differs('dispute', 'dp_b', a(), 'dispute_differs', '3000 needs_response', '3000 won', true);
select fix('dp_b');
delete from theirs where id = 'dp_b';
select differs('dispute', 'dp_b', a(), 'dispute_not_at_stripe', '3000 won', 'nothing', false);
select at_stripe(stripe_dispute('dp_b', 'pi_b', 3000, 'won')) \g /dev/null

-- Subscriptions, of whatever time.

create function told(p_tier text, p_status text default 'active', p_ends boolean default false, p_month int default 3)
returns jsonb language sql as $$
    select stripe_subscription(
        'sub_b', 'cus_a', p_tier, p_status, make_timestamptz(2025, p_month, 1, 0, 0, 0, 'UTC'),
        make_timestamptz(2025, p_month + 1, 1, 0, 0, 0, 'UTC'), 'month', p_ends
    )
$$;
select at_stripe(told('tier_6_50')) \g /dev/null
select differs(
    'subscription', 'sub_b', a(), 'subscription_not_booked', 'nothing',
    'active price_tier_6_50_month until 2025-04-01 00:00:00', true
);
select fix('sub_b');
create function sub_differs(p_theirs text) returns text language sql as $$
    select differs(
        'subscription', 'sub_b', a(), 'subscription_differs', 'active price_tier_6_50_month until 2025-04-01 00:00:00',
        p_theirs, true
    )
$$;
select at_stripe(told('tier_12_100')) \g /dev/null
select sub_differs('active price_tier_12_100_month until 2025-04-01 00:00:00');
select at_stripe(told('tier_6_50', 'past_due')) \g /dev/null
select sub_differs('past_due price_tier_6_50_month until 2025-04-01 00:00:00');
select at_stripe(told('tier_6_50', p_ends => true)) \g /dev/null
select sub_differs('active price_tier_6_50_month ends 2025-04-01 00:00:00');
select at_stripe(told('tier_6_50', p_month => 4)) \g /dev/null
select sub_differs('active price_tier_6_50_month until 2025-05-01 00:00:00');
select fix('sub_b');
select at_stripe(told('newsletter', p_month => 4)) \g /dev/null
select differs(
    'subscription', 'sub_b', a(), 'subscription_differs', 'active price_tier_6_50_month until 2025-05-01 00:00:00',
    'active price_newsletter_month until 2025-05-01 00:00:00', false
);
delete from theirs where id = 'sub_b';
select differs('subscription', 'sub_b', a(), 'subscription_not_at_stripe', 'active', 'nothing', false);
select at_stripe(told('tier_6_50', 'canceled', p_month => 4)) \g /dev/null
select is((select problem || ' ' || fixable from compared()), 'subscription_differs true', 'one has ended');
select fix('sub_b');
select at_stripe(told('tier_12_100', 'canceled', true, 5)) \g /dev/null
select same('what it was at the end is of no account');
select at_stripe(told('tier_6_50', p_month => 4)) \g /dev/null
select is(
    (select problem || ' ' || fixable from compared()), 'subscription_differs false',
    'what has ended does not come back'
);
delete from theirs where id in ('sub_b', 'sub_old');
select same('nor is it missed');

-- Many at once, and none of its tables changed.

select at_stripe(stripe_intent('pi_z', 100, null, 'succeeded', 'cus_a')) \g /dev/null
select at_stripe(stripe_refund('re_b', 'pi_b', 500)) \g /dev/null
select at_stripe(stripe_dispute('dp_b', 'pi_b', 1, 'lost')) \g /dev/null
delete from theirs where id = 'sub_a';
select rows_are(
    'select kind, object_id, problem from compared()',
    $$
    values ('dispute', 'dp_b', 'dispute_differs'), ('payment', 'pi_z', 'payment_not_booked'),
        ('refund', 're_b', 'refund_differs'), ('subscription', 'sub_a', 'subscription_not_at_stripe')
    $$,
    'each of several is told once, in order'
);
select rows_are(
    'select count(*) from compared()', 'values (4::bigint)', 'and again: telling them changes nothing'
);

select throws_ok('select billing.compare_with_stripe(' || arguments || ')', 'UC400', 'invalid_request', arguments)
from unnest(array[
    'null, now() - interval ''1 day'', now()', '''{}'', now() - interval ''1 day'', now()', '''[]'', now(), now()',
    '''[]'', null, now()', '''[]'', now(), null', '''[]'', now(), now() - interval ''1 day'''
]) arguments;

select * from finish();
rollback;
