-- A call that Stripe refuses for good ends, and what waited for it is undone; the same can be asked for again.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select buys(a(), 20, 'pi_a') \g /dev/null
select billing.open_account(b()) \g /dev/null
create function id(p_kind text) returns uuid language sql as
$$select call_id from billing.stripe_calls where kind = p_kind order by status = 'pending' desc, call_id desc limit 1$$;

-- A purchase and a checkout.

select call_id as call from billing.record_purchase(a(), 10, p_idempotency_key => 'k') \gset
set local tap.now = '2025-03-10 12:00:01+00';
select rows_are(
    format('select call_id, status, error, next_attempt_at from billing.fail_stripe_call(%L, ''No such price.'')', :'call'),
    format('values (%L::uuid, ''failed'', ''No such price.'', null::timestamptz)', :'call'), 'the call has failed'
);
select is((select finished_at from billing.stripe_calls where call_id = :'call'), '2025-03-10 12:00:01+00', 'now');
set local tap.now = '2025-03-10 12:00+00';
select rows_are(
    $$select status, error, call_id from billing.record_purchase(a(), 10, p_idempotency_key => 'k')$$,
    $$values ('failed', 'No such price.', null::uuid)$$, 'and the purchase with it'
);
select billing.request_checkout(b(), 'tier_2_20', 'month', 'k') \g /dev/null
select billing.fail_stripe_call(id('checkout'), 'No such tax rate.') \g /dev/null
select rows_are(
    'select status, error from billing.billing_checkouts', $$values ('failed', 'No such tax rate.')$$,
    'as does a checkout'
);
select is((billing.request_checkout(b(), 'tier_2_20')).status, 'pending', 'another one can be begun');

select rows_are(
    format('select status, error from billing.fail_stripe_call(%L, ''late'')', call_id),
    $$values ('done', null)$$, 'a call that is done does not fail any more'
)
from billing.stripe_calls c
join billing.credit_purchases p on p.purchase_id::text = c.subject_id
where p.stripe_payment_intent_id = 'pi_a';
select checkout_id as checkout, call_id as call from billing.get_checkout(b(), (
    select checkout_id from billing.billing_checkouts where status = 'pending'
)) \gset
select billing.finish_stripe_call(
    :'call', stripe_session('cs_b', :'checkout', 2000, null, 'open', 'unpaid', null, 'subscription')
) \g /dev/null
select billing.fail_stripe_call(:'call', 'late') \g /dev/null
select is((billing.get_checkout(b(), :'checkout')).status, 'open', 'nor does what it was for');

-- A refund.

create function refund(p_amount numeric) returns uuid language sql as
$$select call_id from billing.request_refund(chief(), a(), p_amount, 'r', true, 'pi_a')$$;
select refund(15) \g /dev/null
select is((billing.get_account(a())).balance, 5, 'a refund takes credits when it is requested');
select billing.fail_stripe_call(id('refund'), 'Insufficient balance.', 'balance_insufficient') \g /dev/null
select is((billing.get_account(a())).balance, 20, 'and gives them back when Stripe refuses it');
select rows_are(
    'select status, error from billing.list_refunds(a())', $$values ('failed', 'Insufficient balance.')$$,
    'it has failed'
);
select billing.fail_stripe_call(id('refund'), 'Again.') \g /dev/null
select rows_are(
    'select r.status, r.error, c.error from billing.list_refunds(a()) r, billing.stripe_calls c where c.kind = ''refund''',
    $$values ('failed', 'Insufficient balance.', 'Insufficient balance.')$$, 'a call that has ended stays as it is'
);
select is((billing.get_account(a())).balance, 20, 'and gives nothing more');
select refund(20) \g /dev/null
select billing.record_stripe_object(stripe_refund('re_1', 'pi_a', 2000, refund_id))
from billing.list_refunds(a(), 'requested') \g /dev/null
select billing.fail_stripe_call(id('refund'), 'Late.') \g /dev/null
select rows_are(
    $$select status, clawed from billing.list_refunds(a(), 'succeeded')$$, $$values ('succeeded', 20)$$,
    'a refund that Stripe is known to have made does not fail with its call'
);

-- An automatic top-up.

select billing.set_auto_top_up(a(), true, 5, '10', 50) \g /dev/null
select billing.request_top_up(a()) \g /dev/null
select billing.fail_stripe_call(id('top_up'), 'Your card was declined.', 'insufficient_funds') \g /dev/null
select rows_are(
    'select enabled, disabled_reason, failures, retry_after from billing.get_auto_top_up(a())',
    $$values (false, 'insufficient_funds', 1, '2025-03-10 13:00+00'::timestamptz)$$,
    'R22: a refused charge turns it off, with the reason, and the card rests'
);
select is(
    (select status || ': ' || error from billing.credit_purchases where kind = 'auto_top_up'),
    'failed: Your card was declined.', 'its purchase has failed'
);
select billing.fail_stripe_call(id('top_up'), 'Your card was declined.', 'insufficient_funds') \g /dev/null
select is((billing.get_auto_top_up(a())).failures, 1, 'once');
select billing.set_auto_top_up(a(), true, p_payment_method_id => 'pm_2') \g /dev/null
select billing.request_top_up(a()) \g /dev/null
select billing.fail_stripe_call(id('top_up'), 'No.') \g /dev/null
select is(
    (billing.get_auto_top_up(a())).disabled_reason, 'refused', 'without a code the reason is that it was refused'
);
select billing.set_auto_top_up(a(), true, p_payment_method_id => 'pm_3') \g /dev/null
select purchase_id as top_up from billing.request_top_up(a()) \gset
select billing.record_stripe_object(stripe_intent('pi_t', 1000, :'top_up')) \g /dev/null
select billing.fail_stripe_call(id('top_up'), 'Your card was declined.', 'lost_card') \g /dev/null
select rows_are(
    format('select p.status, t.enabled from billing.get_purchase(a(), %L) p, billing.get_auto_top_up(a()) t', :'top_up'),
    $$values ('paid', true)$$, 'R27: a refusal that is told after the payment changes nothing'
);

-- What only reads, or sets a state.

select billing.request_customer(b()) \g /dev/null
select customer(a(), 'cus_a') \g /dev/null
select billing.record_stripe_object(stripe_subscription('sub_a', 'cus_a', 'tier_2_20')) \g /dev/null
select billing.request_subscription_change(a(), 'cancel') \g /dev/null
select billing.request_sync(a()) \g /dev/null
select billing_private.queue_stripe_call(a(), 'payment', 'pi_a', '{}', billing_private.clock()) \g /dev/null
create temp table ends as
select kind, id(kind) as call_id, (billing.fail_stripe_call(id(kind), repeat('e', 3000))).status as status
from unnest(array['customer', 'subscription', 'subscriptions', 'payment']) kind;
select is((select string_agg(status, ' ') from ends), 'failed failed failed failed', 'a call of any kind can end so');
select is(
    (select count(*) from billing.stripe_calls where error = repeat('e', 2000)), 4::bigint, 'an endless error is cut'
);
select isnt(
    (billing.request_customer(b())).call_id, (select call_id from ends where kind = 'customer'),
    'a customer is wanted again'
);
select is((billing.get_subscription(a())).cancel_at_period_end, false, 'the subscription is as it was');
select isnt(
    (billing.request_subscription_change(a(), 'cancel')).call_id,
    (select call_id from ends where kind = 'subscription'),
    'and can be changed'
);

select throws_ok(
    format('select billing.fail_stripe_call(%L, ''e'')', call), 'UC404', 'call_not_found',
    'there is no call ' || coalesce(call, 'null')
)
from unnest(array[nobody()::text, null]) call;
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
