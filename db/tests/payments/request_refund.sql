-- A refund pays the customer once, in credits or in money, within the admin's rights and never more than was paid; money
-- takes the same share of the bought credits back, as far as they are left. Each attempt is in the log.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
create function does(
    p_user_id uuid, p_amount numeric, p_intent_id text default null, p_owe boolean default false,
    p_both boolean default false, p_actor uuid default chief(), p_key text default null
)
returns text language sql as $$
    select concat_ws(
        ' ', success, reason, mode, status, trim_scale(amount), 'entry', entry_no, 'clawed', trim_scale(clawed),
        'spent',
        trim_scale(spent), 'owed', trim_scale(owed), 'balance', trim_scale(balance_after),
        case when replayed then 'again' end
    )
    from billing.request_refund(
        p_actor, p_user_id, p_amount, 'a try', p_intent_id is not null, p_intent_id, p_both, p_owe, p_key
    )
$$;
create function stands(p_user_id uuid) returns text language sql as $$
    select concat_ws(' ', trim_scale(balance), trim_scale(held), trim_scale(debt), status)
    from billing.get_account(p_user_id)
$$;

-- In credits.

select billing.open_account(a(), 'buyer') \g /dev/null
create temp table first (like billing.credit_refunds);
grant select on first to billing_api;
set local role billing_api;
select rows_are(
    $$
    select success, reason, refund_id is not null, mode, status, amount, stripe_refund_id, entry_no, clawed, spent, owed,
        balance_after, action_id is not null, call_id, replayed
    from billing.request_refund(chief(), a(), 7.000000001, 'it was slow', p_idempotency_key => 'key')
    $$,
    $$
    values (
        true, null::text, true, 'credits', 'succeeded', 7.000000001, null::text, 1::bigint, 0::numeric, 0::numeric,
        0::numeric, 7.000000001, true, null::uuid, false
    )
    $$,
    'R16: without stripe_refund it is credits, and there is nothing to do at Stripe'
);
select is(
    does(a(), 7.000000001, p_key => 'key'),
    't credits succeeded 7.000000001 entry 1 clawed 0 spent 0 owed 0 balance 7.000000001 again',
    'the same request is replayed'
);
select is(
    (billing.request_refund(chief(), a(), 7.000000001, 'r', null, 'pi_9', null, null, 'key')).replayed, true,
    'null is false, and credits are of no payment'
);
reset role;
insert into first select * from billing.credit_refunds;
select rows_are(
    $$
    select type, amount, operation, idempotency_key, reference_type, reference_id, description, metadata, actor
    from billing.credit_ledger where user_id = a()
    $$,
    $$
    select 'refund', 7.000000001, 'request_refund', refund_id::text, 'refund', refund_id::text, 'it was slow',
        jsonb_build_object('action_id', action_id), chief()
    from first
    $$,
    'one entry, which names the refund and the admin'
);
select rows_are(
    'select source, amount, priority, expires_at from billing.credit_grants where user_id = a()',
    $$values ('refund', 7.000000001, 50, null::timestamptz)$$, 'one lot'
);
select rows_are(
    $$
    select action_id, admin_user_id, action, amount, reason, outcome, details
    from billing.admin_actions_log where target_user_id = a()
    $$,
    $$
    select action_id, chief(), 'request_refund', 7.000000001, 'it was slow', 'done',
        jsonb_build_object(
            'refund_id', refund_id, 'mode', 'credits', 'entry_no', 1, 'clawed', 0, 'spent', 0, 'owed', 0,
            'balance_after', 7.000000001, 'idempotency_key', 'key'
        )
    from first
    $$,
    'R16: and a row of the log; a replay is no second action'
);
select is(
    (select day_total from billing.user_roles where user_id = chief()), 7.000000001,
    'credits count for the admin''s day'
);
update billing.credit_accounts set debt = 2 where user_id = a();
select is(
    does(a(), 5), 't credits succeeded 5 entry 2 clawed 0 spent 0 owed 0 balance 10.000000001', 'they repay debt first'
);

-- In money.

select buys(b(), 10, 'pi_1') \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
set local role billing_api;
select rows_are(
    $$
    select success, reason, mode, status, amount, stripe_refund_id, entry_no, clawed, spent, owed, balance_after,
        call_id is not null, replayed
    from billing.request_refund(chief(), b(), 4, 'not happy', true, 'pi_1', p_idempotency_key => 'key')
    $$,
    $$
    values (
        true, null::text, 'money', 'requested', 4::numeric, null::text, null::bigint, 4::numeric, 0::numeric, 0::numeric,
        6::numeric, true, false
    )
    $$,
    'R16: with stripe_refund it is money, and the share that it had bought is taken back at once'
);
reset role;
create temp table money as
select refund_id, call_id from billing.credit_refunds r join billing.stripe_calls on subject_id = refund_id::text;
grant select on money to billing_api;
select rows_are(
    'select kind, user_id, request, status from billing.stripe_calls where kind = ''refund''',
    $$
    select 'refund', b(),
        jsonb_build_object('refund_id', refund_id, 'payment_intent', 'pi_1', 'amount_cents', 400), 'pending'
    from money
    $$,
    'the call says what to pay back'
);
select rows_are(
    $$
    select type, amount, grant_no, operation, description, metadata from billing.credit_ledger
    where user_id = b() and entry_no > 1
    $$,
    $$
    values (
        'clawback', -4::numeric, 1::bigint, 'net_payment', 'Taken back: refund of payment pi_1',
        '{"cause": "refund", "payment_intent_id": "pi_1"}'::jsonb
    )
    $$,
    'R23: what is taken back is a clawback of its lot'
);
select rows_are(
    $$
    select (select used_total from billing.credit_accounts where user_id = b()),
        (select count(*) from billing.usage_by(b(), '2025-03-01 00:00+00', '2025-04-01 00:00+00'))
    $$,
    'values (0::numeric, 0::bigint)', 'R23: and no usage'
);
select is(
    (select day_total from billing.user_roles where user_id = chief()), 12.000000001, 'money does not count for the day'
);
set local role billing_api;
select is(
    does(b(), 4.00, 'pi_1', p_key => 'key'), 't money requested 4 entry clawed 4 spent 0 owed 0 balance 6 again',
    'R06: the same request is replayed'
);
select is(
    (billing.request_refund(chief(), b(), 4, 'r', true, 'pi_1', p_idempotency_key => 'key')).call_id,
    (select call_id from money), 'R06: with the same call'
);
select throws_ok('select does(b(), ' || arguments || ', p_key => ''key'')', 'UC409', 'idempotency_key_reused', difference)
from (values
    ('5, ''pi_1''', 'another amount is another request'), ('4', 'credits are not money'),
    ('4, ''pi_1'', p_both => true', 'nor are both'), ('4, ''pi_2''', 'another payment too'),
    ('4, ''pi_1'', p_owe => true', 'so is debt for what was spent'), ('4, ''pi_1'', p_actor => admin()', 'another admin too')
) c (arguments, difference);
select is(
    (billing.finish_refund((select refund_id from money), stripe_refund('re_1', 'pi_1', 400))).status, 'succeeded',
    'Stripe has paid it back'
);
select rows_are(
    $$
    select status, stripe_refund_id, call_id, replayed
    from billing.request_refund(chief(), b(), 4, 'r', true, 'pi_1', p_idempotency_key => 'key')
    $$,
    $$values ('succeeded', 're_1', null::uuid, true)$$, 'a replay tells the status of now'
);
select is(
    (select count(*) from billing.list_refunds(b())), 1::bigint, 'there is one refund'
);

-- In both, when it is said.

select is(
    does(b(), 2, 'pi_1', p_both => true), 't both requested 2 entry 3 clawed 2 spent 0 owed 0 balance 6',
    'R16: both only when it is asked for: 2 are granted, and 2 taken with the money'
);
reset role;
select rows_are(
    'select type, amount from billing.credit_ledger where user_id = b() and entry_no > 2 order by entry_no',
    $$values ('refund', 2::numeric), ('clawback', -2)$$, 'by an entry each'
);
select is(
    (select day_total from billing.user_roles where user_id = chief()), 2::numeric,
    'the credits of both count for the day'
);
select is(
    does(b(), 1, p_both => true), 't credits succeeded 1 entry 5 clawed 0 spent 0 owed 0 balance 7',
    'without stripe_refund there is no money to be both'
);

-- Never more than was paid.

select is(
    does(b(), 4.01, 'pi_1'), 'f refund_exceeds_payment money 0 entry clawed spent owed balance 7',
    'requested refunds count: 4 and 2 of 10 leave 4'
);
select billing.record_stripe_object(stripe_refund('re_2', 'pi_1', 100, p_status => 'pending')) \g /dev/null
select is(
    does(b(), 3.01, 'pi_1'), 'f refund_exceeds_payment money 0 entry clawed spent owed balance 6',
    'so do those made at Stripe'
);
select billing.record_stripe_object(stripe_dispute('dp_1', 'pi_1', 150, 'lost')) \g /dev/null
select is(
    does(b(), 1.51, 'pi_1'), 'f refund_exceeds_payment money 0 entry clawed spent owed balance 4.5', 'and lost disputes'
);
select is(
    does(b(), 1.51, 'pi_1', p_both => true), 'f refund_exceeds_payment both 0 entry clawed spent owed balance 4.5',
    'in both as well'
);
select billing.record_stripe_object(stripe_refund('re_2', 'pi_1', 100, p_status => 'failed')) \g /dev/null
select is(
    does(b(), 2.51, 'pi_1'), 'f refund_exceeds_payment money 0 entry clawed spent owed balance 5.5',
    'one that failed counts no more'
);
select is(
    does(b(), 2.5, 'pi_1'), 't money requested 2.5 entry clawed 2.5 spent 0 owed 0 balance 3',
    'all the rest can go back'
);
select is(
    does(b(), 0.01, 'pi_1'), 'f refund_exceeds_payment money 0 entry clawed spent owed balance 3', 'and not a cent more'
);
select is(
    (select (reclaimed, clawed)::text from billing.list_payments(b(), 'pi_1')), '(10,10.0)',
    'all that it bought is back'
);
select billing.record_stripe_object(stripe_dispute('dp_1', 'pi_1', 150, 'won'), '2025-03-12 12:00+00') \g /dev/null

-- The share is cut at the ninth place, and the shares add up.

insert into billing.billing_packages (name, amount, price_cents)
values ('odd', 10.000000001, 300), ('bits', 0.000000002, 300);
select buys(c(), null, 'pi_odd', 'odd') \g /dev/null
select is(
    does(c(), 1, 'pi_odd'), 't money requested 1 entry clawed 3.333333333 spent 0 owed 0 balance 6.666666668',
    'a third of 10.000000001, cut'
);
select is(
    does(c(), 1, 'pi_odd'), 't money requested 1 entry clawed 3.333333334 spent 0 owed 0 balance 3.333333334',
    'two thirds, cut, less what was taken'
);
select is(
    does(c(), 1, 'pi_odd'), 't money requested 1 entry clawed 3.333333334 spent 0 owed 0 balance 0',
    'the whole, exactly'
);
select buys(c(), null, 'pi_bits', 'bits') \g /dev/null
select is(
    does(c(), 1, 'pi_bits'), 't money requested 1 entry clawed 0 spent 0 owed 0 balance 0.000000002',
    'two thirds of a bit'
);
select is(
    does(c(), 1, 'pi_bits'), 't money requested 1 entry clawed 0.000000001 spent 0 owed 0 balance 0.000000001',
    'are not one'
);
select is(
    does(c(), 1, 'pi_bits'), 't money requested 1 entry clawed 0.000000001 spent 0 owed 0 balance 0', 'but all is all'
);

-- What is spent or held is not there to be taken.

select buys(d(), 10, 'pi_d1') \g /dev/null
select billing.deduct_credits(d(), 7) \g /dev/null
select is(
    does(d(), 5, 'pi_d1'), 't money requested 5 entry clawed 3 spent 2 owed 0 balance 0',
    'what was spent is told, and let go'
);
select is(stands(d()), '0 0 0 active', 'it is no debt');
select is(
    does(d(), 3, 'pi_d1', p_owe => true), 't money requested 3 entry clawed 0 spent 0 owed 3 balance 0',
    'but becomes debt when that is asked for: what earlier refunds took is theirs'
);
select is(stands(d()), '0 0 3 active', 'which stands on the account');
select is(
    does(d(), 1, 'pi_d1'), 't money requested 1 entry clawed 0 spent 1 owed 0 balance 0',
    'a refund that does not ask adds none'
);
select is(stands(d()), '0 0 3 active', 'the debt is the same');
select buys(d(), 10, 'pi_d2') \g /dev/null
select is(stands(d()), '7 0 0 active', 'what is bought next repays it');
select billing.hold_credits(d(), 5) \g /dev/null
select is(
    does(d(), 6, 'pi_d2', p_owe => true), 't money requested 6 entry clawed 2 spent 0 owed 4 balance 5',
    'credits under a hold are not taken'
);
select is(stands(d()), '5 5 4 active', 'they are owed');
select is(
    does(d(), 4, 'pi_d2'), 't money requested 4 entry clawed 0 spent 4 owed 0 balance 5', 'or let go'
);
select is(
    (select (reclaimed, clawed, owed)::text from billing.list_payments(d(), 'pi_d2')), '(10,2,4)',
    'the payment says it all'
);

-- The lots of others are not taken, but what reversals brought back to this one is.

select buys(e(), 10, 'pi_e1') \g /dev/null
select buys(e(), 10, 'pi_e2') \g /dev/null
select billing.grant_credits(e(), 10, 'promotion') \g /dev/null
select billing.deduct_credits(e(), 18) \g /dev/null
select billing.reverse_entry(chief(), e(), (select max(entry_no) from billing.list_entries(e())), 'r') \g /dev/null
select billing.deduct_credits(e(), 12) \g /dev/null
select is(
    does(e(), 10, 'pi_e1'), 't money requested 10 entry clawed 8 spent 2 owed 0 balance 10',
    'a lot that burned, and came back by a reversal, is taken for its payment'
);
select is(
    (select sum(remaining) from billing.credit_grants where user_id = e() and 2 in (grant_no, from_grant_no)), 10::numeric,
    'that of the other payment is whole'
);

-- Payments that cannot be refunded.

create function refused(p_user_id uuid, p_amount numeric, p_intent_id text, p_actor uuid default chief()) returns text
language sql as $$
    select concat_ws(' ', success, reason, refund_id, amount, call_id, replayed)
    from billing.request_refund(
        p_actor, p_user_id, p_amount, 'refused', p_intent_id is not null, p_intent_id, p_idempotency_key => 'refused'
    )
$$;
select customer(a(), 'cus_a') \g /dev/null
select billing.record_stripe_object(stripe_intent('pi_sub', 2000, p_customer => 'cus_a')) \g /dev/null
select billing.record_stripe_object(stripe_intent('pi_eur', 2000, p_customer => 'cus_a', p_currency => 'eur')) \g /dev/null
create temp table before as select count(*) as entries from billing.credit_ledger;
select buys(a(), 10, 'pi_a') \g /dev/null
select is(refused(a(), 1, 'pi_foreign'), 'f payment_not_found 0 f', 'a payment that nobody knows');
select is(refused(a(), 1, 'pi_e2'), 'f payment_not_found 0 f', 'a payment of another user');
select is(
    refused(a(), 1, 'pi_eur'), 'f payment_not_found 0 f', 'a payment in another currency: the amount is in dollars'
);
select billing.record_stripe_object(stripe_dispute('dp_2', 'pi_a', 100)) \g /dev/null
select is(refused(a(), 1, 'pi_a'), 'f payment_disputed 0 f', 'a payment in dispute: it would go back twice');
select billing.record_stripe_object(stripe_dispute('dp_2', 'pi_a', 100, 'under_review')) \g /dev/null
select is(
    (billing.request_refund(chief(), a(), 1, 'r', true, 'pi_a')).reason, 'payment_disputed', 'also while it is looked into'
);
select is(
    does(a(), 1, 'pi_sub'), 't money requested 1 entry clawed 0 spent 0 owed 0 balance 20.000000001',
    'that of a subscription bought no credits: money goes back, and that is all'
);
select billing.record_stripe_object(stripe_dispute('dp_2', 'pi_a', 100, 'won')) \g /dev/null

-- Admins that may not.

select is(refused(a(), 1, null, a()), 'f not_an_admin 0 f', 'a user does not refund');
select is(refused(a(), 1, 'pi_a', a()), 'f not_an_admin 0 f', 'in money neither');
select is(refused(a(), 1, null, admin()), 'f refund_not_allowed 0 f', 'nor does an admin: it takes a super admin');
select is(refused(a(), 1, 'pi_a', admin()), 'f refund_not_allowed 0 f', 'in money neither');
select is(refused(a(), 1, 'pi_foreign', admin()), 'f refund_not_allowed 0 f', 'who learns nothing about payments');
select is(refused(a(), 100000.000000001, null), 'f admin_limit_exceeded 0 f', 'credits have a limit for one action');
update billing.user_roles set day_total = 499999, day = '2025-03-11' where user_id = chief();
select is(refused(a(), 1.000000001, null), 'f admin_limit_exceeded 0 f', 'and for the day');
select is(
    (billing.request_refund(chief(), a(), 1.01, 'r', true, 'pi_a', true)).reason, 'admin_limit_exceeded',
    'also in both'
);
select is(
    does(a(), 1.01, 'pi_a'), 't money requested 1.01 entry clawed 1.01 spent 0 owed 0 balance 18.990000001',
    'money is limited by the payment alone'
);
select is((billing.request_refund(chief(), a(), 1, 'r')).success, true, 'the day''s limit can be reached');
select is(
    (billing.adjust_credits(chief(), a(), 0.01, 'r')).reason, 'admin_limit_exceeded', 'refunds and adjustments share it'
);
update billing.user_roles set day_total = 0 where user_id = chief();
update billing.admin_limits set approval_above = 3 where role = 'super_admin';
select is(refused(a(), 3.01, null), 'f approval_required 0 f', 'R17: above approval_above one admin is not enough');
select is(refused(a(), 3.01, 'pi_a'), 'f approval_required 0 f', 'R17: in money too');
select is((billing.request_refund(chief(), a(), 3, 'r', true, 'pi_a')).success, true, 'R17: up to it one is');
update billing.admin_limits set approval_above = null, can_refund = false where role = 'super_admin';
select is(refused(a(), 1, 'pi_a'), 'f refund_not_allowed 0 f', 'a right that is taken is gone');
update billing.admin_limits set can_refund = true where role = 'super_admin';

-- The own account.

select buys(chief(), 10, 'pi_chief') \g /dev/null
select is(refused(chief(), 1, null), 'f approval_required 0 f', 'nobody refunds themselves alone');
select is(refused(chief(), 1, 'pi_chief'), 'f approval_required 0 f', 'in money neither');
select is(
    (billing.request_refund(chief(), chief(), 1, 'r', true, 'pi_chief', true)).reason, 'approval_required', 'nor in both'
);
select is(refused(chief(), 10.01, 'pi_chief'), 'f approval_required 0 f', 'and that is the reason before any other');
select is(stands(chief()), '10 0 0 active', 'nothing moves');

-- Frozen, closed.

select billing.set_account_status(chief(), a(), 'frozen', 'r') \g /dev/null
select is((billing.request_refund(chief(), a(), 1, 'r')).success, true, 'a frozen account can be refunded');
select billing.set_account_status(chief(), a(), 'closed', 'r') \g /dev/null
select is(refused(a(), 1, null), 'f account_closed 0 f', 'a closed one has no use for credits');
select is(
    (billing.request_refund(chief(), a(), 1, 'r', true, 'pi_a', true)).reason, 'account_closed', 'nor for both'
);
select is(
    (select (success, clawed)::text from billing.request_refund(chief(), a(), 1, 'r', true, 'pi_a')), '(t,1.00)',
    'but its money can go back'
);
select is((billing.get_account(a())).status, 'closed', 'it stays closed');

select rows_are(
    $$
    select admin_user_id, amount, outcome, details ->> 'payment_intent_id', details - 'payment_intent_id' - 'balance_after'
    from billing.admin_actions_log
    where target_user_id = a() and reason = 'refused'
    order by outcome, amount, 4, admin_user_id
    $$,
    $$
    select actor, amount, outcome, intent,
        jsonb_build_object(
            'mode', case when intent is null then 'credits' else 'money' end, 'idempotency_key', 'refused'
        )
    from (values
        (chief(), 1::numeric, 'account_closed', null), (chief(), 1.000000001, 'admin_limit_exceeded', null),
        (chief(), 100000.000000001, 'admin_limit_exceeded', null), (chief(), 3.01, 'approval_required', 'pi_a'),
        (chief(), 3.01, 'approval_required', null), (a(), 1, 'not_an_admin', 'pi_a'), (a(), 1, 'not_an_admin', null),
        (chief(), 1, 'payment_disputed', 'pi_a'), (chief(), 1, 'payment_not_found', 'pi_e2'),
        (chief(), 1, 'payment_not_found', 'pi_eur'), (chief(), 1, 'payment_not_found', 'pi_foreign'),
        (admin(), 1, 'refund_not_allowed', 'pi_a'), (chief(), 1, 'refund_not_allowed', 'pi_a'),
        (admin(), 1, 'refund_not_allowed', 'pi_foreign'), (admin(), 1, 'refund_not_allowed', null)
    ) l (actor, amount, outcome, intent)
    $$,
    'R16: every refusal is in the log, with who asked for what'
);
select billing.set_account_status(chief(), a(), 'active', 'r') \g /dev/null
select is(
    (select (success, replayed)::text from billing.request_refund(chief(), a(), 1, 'r', p_idempotency_key => 'refused')),
    '(t,f)', 'none of them has bound its key'
);

-- Requests that are none.

select throws_ok('select billing.request_refund(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, a(), 1, ''r''', 'UC400', 'invalid_request'),
    ('chief(), null, 1, ''r''', 'UC400', 'invalid_request'),
    ('chief(), a(), 1, repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('chief(), a(), 1, ''r'', true', 'UC400', 'invalid_request'),
    ('chief(), a(), 1, ''r'', true, '' ''', 'UC400', 'invalid_request'),
    ('chief(), a(), 1, ''r'', true, repeat(''p'', 256)', 'UC400', 'invalid_request'),
    ('chief(), a(), 1, ''r'', p_idempotency_key => ''''', 'UC400', 'invalid_request'),
    ('chief(), nobody(), 1, ''r''', 'UC404', 'account_not_found'),
    ('chief(), a(), 1, null', 'UC422', 'reason_required'),
    ('chief(), a(), 1, '' ''', 'UC422', 'reason_required'),
    ('chief(), a(), null, ''r''', 'UC400', 'invalid_request'),
    ('chief(), a(), 0, ''r''', 'UC422', 'amount_not_positive'),
    ('chief(), a(), -1, ''r'', true, ''pi_a''', 'UC422', 'amount_not_positive'),
    ('chief(), a(), 0.0000000001, ''r''', 'UC422', 'amount_too_precise'),
    ('chief(), a(), 1000000000000.1, ''r''', 'UC422', 'amount_too_large'),
    ('chief(), a(), ''NaN'', ''r'', true, ''pi_a''', 'UC422', 'amount_too_large'),
    ('chief(), a(), 1.001, ''r'', true, ''pi_a''', 'UC422', 'amount_not_whole_cents'),
    ('chief(), a(), 1.001, ''r'', true, ''pi_a'', true', 'UC422', 'amount_not_whole_cents')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
