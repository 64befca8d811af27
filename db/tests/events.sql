-- What happens to an account is told once, in the transaction in which it happened, with exact numbers and in order.
\ir payments.psql

-- What a user was told after an event: number, kind, and what of the payload is asked for.
create function told(p_user_id uuid, p_after bigint default 0) returns text language sql as $$
    select string_agg(
        concat_ws(' ', event_no || ':', kind, payload ->> 'balance', payload ->> 'threshold'), ', ' order by event_no
    )
    from billing.billing_events
    where user_id = p_user_id and event_no > p_after
$$;
create function newest(p_user_id uuid) returns jsonb language sql as $$
    select payload from billing.billing_events where user_id = p_user_id order by event_no desc limit 1
$$;
create function armed(p_user_id uuid) returns numeric language sql as
$$select alert_below from billing.credit_accounts where user_id = p_user_id$$;
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null

-- A grant.

select billing.open_account(a()) \g /dev/null
select rows_are(
    $$
    select event_no, kind, status, attempts, next_attempt_at, error, created_at, delivered_at, payload
    from billing.billing_events where user_id = a()
    $$,
    $$
    values (
        1, 'credits.granted', 'kept', 0, null::timestamptz, null::text, '2025-03-10 12:00+00'::timestamptz,
        null::timestamptz,
        '{"type": "tier_grant", "amount": 5, "balance": 5, "entry_no": 1, "reference_type": "period",
            "reference_id": "2025-03"}'::jsonb || jsonb_build_object('expires_at', newest(a()) -> 'expires_at')
    )
    $$,
    'a grant is told; it is kept while nobody wants events delivered'
);
select matches(newest(a()) ->> 'expires_at', '^2025-04-01T00:00:00', 'with its expiry');
select is(armed(a()), 1.0, 'credits arm the account at the low balance of the settings');

-- Crossings, one comparison in the deduction itself.

select billing.deduct_credits(a(), 4) \g /dev/null
select is(told(a(), 1), null, 'a balance at the threshold is not below it');
select billing.deduct_credits(a(), 0.000000001) \g /dev/null
select is(told(a(), 1), '2: balance.low 0.999999999 1', 'the smallest amount below it is');
select is(
    newest(a()), '{"balance": 0.999999999, "threshold": 1, "entry_no": 3}', 'with the numbers, exactly, and the entry'
);
select billing.deduct_credits(a(), 0.5) \g /dev/null
select is(told(a(), 2), null, 'what was told is not told again');
select billing.deduct_credits(a(), 0.489999999) \g /dev/null
select is(told(a(), 2), null, 'a balance at the threshold is not depleted');
select billing.deduct_credits(a(), 0.000000001) \g /dev/null
select is(told(a(), 2), '3: balance.depleted 0.009999999 0.01', 'one below it is');
select is(newest(a()), '{"balance": 0.009999999, "threshold": 0.01, "entry_no": 6}', 'with its numbers');
select billing.deduct_credits(a(), 0.009999999) \g /dev/null
select is(told(a(), 3), null, 'nor is that told again');
select is(armed(a()), null, 'there is nothing more to tell until credits come');

select billing.deduct_credits(a(), 1) \g /dev/null
select is(told(a(), 3), null, 'a deduction that is refused tells nothing');

-- Credits arm it again.

select billing.grant_credits(a(), 0.009999999, 'promotion') \g /dev/null
select is(told(a(), 3), '4: credits.granted 0.009999999', 'a grant that leaves it depleted');
select is(armed(a()), null, 'arms nothing');
select billing.grant_credits(a(), 0.000000001, 'promotion', p_reference_type => 'campaign', p_reference_id => 'c7')
\g /dev/null
select is(
    newest(a()),
    '{"type": "adjustment", "amount": 0.000000001, "balance": 0.01, "entry_no": 10, "reference_type": "campaign",
        "reference_id": "c7"}'::jsonb || jsonb_build_object('type', newest(a()) -> 'type'),
    'what brought them is told with its reference'
);
select is(armed(a()), 0.01, 'a balance at the threshold is armed for what is below it');
select billing.deduct_credits(a(), 0.01) \g /dev/null
select is(told(a(), 5), '6: balance.depleted 0 0.01', 'and depleted is told without low, which it was all along');
select billing.grant_credits(a(), 10, 'promotion') \g /dev/null
select billing.deduct_credits(a(), 10) \g /dev/null
select is(
    told(a(), 6), '7: credits.granted 10, 8: balance.low 0 1, 9: balance.depleted 0 0.01',
    'one deduction can be both: low first'
);
select billing.reverse_entry(admin(), a(), (select max(entry_no) from billing.credit_ledger where user_id = a()), 'r')
\g /dev/null
select is(told(a(), 9), '10: credits.granted 10', 'a reversal brings credits, and is told as that');
select is(newest(a()) ->> 'type', 'reversal', 'by its type');
select billing.deduct_credits(a(), 9.5) \g /dev/null
select is(told(a(), 10), '11: balance.low 0.5 1', 'and it arms');
select billing.deduct_credits(a(), 0.1) from generate_series(1, 3) \g /dev/null
select is(told(a(), 11), null, 'each crossing is told exactly once');

-- The other ways down.

select billing.open_account(b()) \g /dev/null
select billing.deduct_credits_batch(jsonb_build_array(
    jsonb_build_object('user_id', b(), 'amount', 4.5), jsonb_build_object('user_id', b(), 'amount', 0.1),
    jsonb_build_object('user_id', b(), 'amount', 0.4)
)) \g /dev/null
select is(told(b(), 1), '2: balance.low 0.5 1, 3: balance.depleted 0 0.01', 'a batch tells as its items do');
select billing.grant_credits(b(), 5, 'promotion') \g /dev/null
select hold_id as hold from billing.hold_credits(b(), 4.999999999) \gset
select is(told(b(), 4), null, 'credits that are held have not been spent');
select billing.capture_hold(b(), :'hold', 4.5) \g /dev/null
select is(told(b(), 4), '5: balance.low 0.5 1', 'a capture spends them');
select billing.adjust_credits(admin(), b(), -0.495, 'r') \g /dev/null
select is(told(b(), 5), '6: balance.depleted 0.005 0.01', 'an adjustment takes them');
select billing.deduct_tokens(a(), 'gpt-4o', 20000, 20000) \g /dev/null
select is(told(a(), 11), null, 'a deduction by tokens, and still above what comes next');

select billing.open_account(c()) \g /dev/null
set local tap.now = '2025-04-01 00:00+00';
savepoint april;
select billing.deduct_credits(c(), 1) \g /dev/null
select is(told(c(), 1), '2: credits.granted 5', 'credits that expire as the next ones are owed are not told as a fall');
rollback to april;
update billing.credit_accounts set granted_through = '2025-04-01' where user_id = c();
select billing.deduct_credits(c(), 1) \g /dev/null
select is(
    told(c(), 1), '2: balance.low 0 1, 3: balance.depleted 0 0.01',
    'credits that expire are told when that is booked, by a deduction that is refused for it'
);
set local tap.now = '2025-03-10 12:00+00';

-- Debt is repaid from what comes, and nobody has spent that.
select buys(d(), 10, 'pi_d') \g /dev/null
select is(told(d()), '1: purchase.completed 10', 'a purchase is told');
select is(
    newest(d()),
    jsonb_build_object(
        'type', 'purchase', 'amount', 10, 'balance', 10, 'entry_no', 1, 'reference_type', 'payment_intent',
        'reference_id', 'pi_d', 'purchase_id', (select purchase_id from billing.credit_purchases where user_id = d())
    ),
    'with its amount, its purchase and its payment; bought credits never expire'
);
select billing.deduct_credits(d(), 10) \g /dev/null
update billing.credit_accounts set debt = 9 where user_id = d();
select buys(d(), 8, 'pi_d2') \g /dev/null
select rows_are(
    'select balance, debt from billing.credit_accounts where user_id = d()', 'values (0, 1)',
    'eight credits come, and go to the debt'
);
select is(told(d(), 3), '4: purchase.completed 8', 'what debt takes is not told as a fall');
select is(armed(d()), null, 'and arms nothing');

-- Thresholds.

select billing.open_account(e()) \g /dev/null
select billing.set_low_balance(e(), 3) \g /dev/null
select billing.deduct_credits(e(), 2.5) \g /dev/null
select is(told(e(), 1), '2: balance.low 2.5 3', 'an account has a threshold of its own');
select billing.set_low_balance(e(), 2) \g /dev/null
select billing.deduct_credits(e(), 1) \g /dev/null
select is(told(e(), 2), '3: balance.low 1.5 2', 'a lower one is another crossing');
select billing.set_low_balance(e(), 4) \g /dev/null
select is(told(e(), 3), null, 'a higher one is none: nothing has fallen');
select billing.deduct_credits(e(), 1) \g /dev/null
select is(told(e(), 3), null, 'nor does a balance that was below it cross it');
select billing.grant_credits(e(), 5, 'promotion') \g /dev/null
select billing.set_low_balance(e(), 0) \g /dev/null
select billing.deduct_credits(e(), 5.495) \g /dev/null
select is(
    told(e(), 3), '4: credits.granted 5.5, 5: balance.depleted 0.005 0.01', 'with 0, low is never told; depleted is'
);
update billing.billing_settings set low_balance = 2.5, depleted_balance = 0.5;
select billing.grant_credits(
    a(), 10 - (select balance from billing.credit_accounts where user_id = a()), 'promotion'
) \g /dev/null
select billing.deduct_credits(a(), 9.5) \g /dev/null
select is(told(a(), 12), '13: balance.low 0.5 2.5', 'the defaults can be changed');
select billing.deduct_credits(a(), 0.000000001) \g /dev/null
select is(told(a(), 13), '14: balance.depleted 0.499999999 0.5', 'both of them');
update billing.billing_settings set low_balance = 1, depleted_balance = 0.01;

-- What the threshold is when the balance falls counts, not what it was when credits came.
select billing.open_account(u) from unnest(array[nobody(), admin()]) u \g /dev/null
update billing.billing_settings set low_balance = 5;
select billing.grant_credits(u, 5, 'promotion') from unnest(array[nobody(), admin()]) u \g /dev/null
update billing.billing_settings set low_balance = 2;
select billing.deduct_credits(nobody(), 6) \g /dev/null
select is(told(nobody(), 2), null, 'above a default that was lowered, nothing is told');
select billing.deduct_credits(nobody(), 3) \g /dev/null
select is(told(nobody(), 2), '3: balance.low 1 2', 'below it, once');
update billing.billing_settings set low_balance = 0;
select billing.deduct_credits(admin(), 9) \g /dev/null
select is(told(admin(), 2), null, 'nor when there is no low balance any more');
update billing.billing_settings set low_balance = 1;

-- With what happened, or not at all.

savepoint before;
select billing.grant_credits(b(), 5, 'promotion') \g /dev/null
select billing.deduct_credits(b(), 5) \g /dev/null
select isnt(told(b(), 6), null, 'told');
rollback to before;
select is(told(b(), 6), null, 'what is rolled back was never told');
select billing.grant_credits(b(), 1, 'promotion') \g /dev/null
select is(told(b(), 6), '7: credits.granted 1.005', 'and left no gap in the numbers');
select throws_ok($$select billing.grant_credits(b(), -1, 'promotion')$$, 'UC422', 'amount_not_positive', 'refused');
select billing.grant_credits(b(), 1, 'promotion', p_idempotency_key => 'once') from generate_series(1, 2) \g /dev/null
select is(told(b(), 7), '8: credits.granted 2.005', 'a repetition is no event of its own');

-- To be delivered or not, as the job stands at that moment.

select is((billing.set_job('deliver_events', true)).enabled, true, 'delivery is switched on');
select billing.grant_credits(b(), 1, 'promotion') from generate_series(1, 2) \g /dev/null
select billing.grant_credits(c(), 1, 'promotion') \g /dev/null
select rows_are(
    $$
    select event_no, status, next_attempt_at from billing.billing_events
    where user_id = b() and event_no > 7 order by event_no
    $$,
    $$
    values (8, 'kept', null), (9, 'pending', '2025-03-10 12:00+00'::timestamptz), (10, 'pending', null)
    $$,
    'from then on events wait to be delivered, the oldest of a user first; what was kept stays kept'
);
select is(
    (select next_attempt_at from billing.billing_events where user_id = c() and status = 'pending'),
    '2025-04-01 00:00+00'::timestamptz, 'users do not wait for one another; time never runs backwards for one'
);
select is((billing.set_job('deliver_events', false)).enabled, false, 'and off');
select billing.grant_credits(b(), 1, 'promotion') \g /dev/null
select is(
    (select status from billing.billing_events where user_id = b() and event_no = 11), 'kept', 'they are kept again'
);

-- Refunds.

create function refund_events(p_user_id uuid, p_after bigint) returns text language sql as $$
    select string_agg(
        concat_ws(' ', kind, payload ->> 'mode', payload ->> 'amount', payload ->> 'amount_cents', payload ->> 'status'),
        ', ' order by event_no
    )
    from billing.billing_events where user_id = p_user_id and event_no > p_after
$$;
create function last_no(p_user_id uuid) returns bigint language sql as
$$select max(event_no) from billing.billing_events where user_id = p_user_id$$;
create temp table at (no bigint);
create function here(p_user_id uuid) returns void language sql as
$$delete from at; insert into at select last_no(p_user_id)$$;

select here(b()) \g /dev/null
select billing.request_refund(chief(), b(), 2, 'r') \g /dev/null
select is(
    refund_events(b(), no), 'credits.granted 2, refund.succeeded credits 2 succeeded',
    'a refund in credits is done at once: the credits, and that it succeeded'
) from at;
select is(
    newest(b()) - 'refund_id', '{"mode": "credits", "amount": 2, "status": "succeeded"}', 'there is no payment of it'
);
select is(
    newest(b()) ->> 'refund_id', (select refund_id::text from billing.credit_refunds where user_id = b()), 'by its id'
);

create function buyer() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000e1'::uuid$$;
select buys(buyer(), 20, 'pi_b') \g /dev/null
select refund_id as refund from billing.request_refund(chief(), buyer(), 15, 'r', true, 'pi_b') \gset
select is(told(buyer(), 1), null, 'a refund of money is told when it has ended');
select billing.record_stripe_object(stripe_refund('re_1', 'pi_b', 1500, :'refund', 'pending')) \g /dev/null
select is(told(buyer(), 1), null, 'not while it is pending');
select billing.record_stripe_object(stripe_refund('re_1', 'pi_b', 1500, :'refund')) from generate_series(1, 2) \g /dev/null
select is(
    newest(buyer()),
    jsonb_build_object('refund_id', :'refund', 'mode', 'money', 'amount', 15, 'amount_cents', 1500,
        'payment_intent_id', 'pi_b', 'status', 'succeeded'),
    'it has succeeded'
);
select is(refund_events(buyer(), 1), 'refund.succeeded money 15 1500 succeeded', 'however often it is told by Stripe');
set local tap.now = '2025-03-14 12:00+00';
select billing.record_stripe_object(stripe_refund('re_1', 'pi_b', 1500, :'refund', 'failed')) from generate_series(1, 2)
\g /dev/null
select matches(
    refund_events(buyer(), 2), '(^|, )refund.failed money 15 1500 failed$', 'days later it fails: that is told as well'
);
select is(
    (select count(*) from billing.billing_events where user_id = buyer() and kind = 'refund.failed'), 1::bigint, 'once'
);
set local tap.now = '2025-03-15 12:00+00';
select refund_id as refund from billing.request_refund(chief(), buyer(), 5, 'r', true, 'pi_b') \gset
select here(buyer()) \g /dev/null
select billing.record_stripe_object(stripe_refund('re_2', 'pi_b', 500, :'refund', 'canceled')) \g /dev/null
select matches(refund_events(buyer(), no), '(^|, )refund.failed money 5 500 canceled$', 'one that is canceled has failed')
from at;
select here(buyer()) \g /dev/null
select billing.record_stripe_object(stripe_refund('re_3', 'pi_b', 100)) \g /dev/null
select is(refund_events(buyer(), no), 'refund.succeeded money 1 100 succeeded', 'one that was made at Stripe is told too')
from at;

-- Freezes.

create function frozen() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000e2'::uuid$$;
create function status_events(p_user_id uuid) returns text language sql as $$
    select string_agg(concat_ws(' ', kind, payload::text), ', ' order by event_no)
    from billing.billing_events where user_id = p_user_id and kind like 'account.%'
$$;
select buys(frozen(), 10, 'pi_f') \g /dev/null
select billing.set_account_status(admin(), frozen(), 'frozen', 'r') from generate_series(1, 2) \g /dev/null
select is(
    status_events(frozen()), 'account.frozen {"causes": ["admin"]}', 'an account that an admin freezes is told of, once'
);
select billing.record_stripe_object(stripe_dispute('dp_1', 'pi_f', 1000)) \g /dev/null
select is(status_events(frozen()), 'account.frozen {"causes": ["admin"]}', 'a second reason freezes nothing more');
select billing.set_account_status(admin(), frozen(), 'active', 'r') \g /dev/null
select is(status_events(frozen()), 'account.frozen {"causes": ["admin"]}', 'nor is one taken away a thaw');
select billing.record_stripe_object(stripe_dispute('dp_1', 'pi_f', 1000, 'won')) from generate_series(1, 2) \g /dev/null
select is(
    status_events(frozen()), 'account.frozen {"causes": ["admin"]}, account.unfrozen {}',
    'with the last reason gone it is told'
);
select billing.record_stripe_object(stripe_dispute('dp_2', 'pi_f', 500)) \g /dev/null
select is(
    status_events(frozen()),
    'account.frozen {"causes": ["admin"]}, account.unfrozen {}, account.frozen {"causes": ["dispute"]}',
    'a dispute freezes'
);
select billing.record_stripe_object(stripe_dispute('dp_2', 'pi_f', 500, 'lost')) \g /dev/null
select matches(status_events(frozen()), 'account.unfrozen \{\}$', 'until it has ended');
select billing.open_account(nobody()) \g /dev/null
select billing.set_account_status(admin(), nobody(), status, 'r')
from unnest(array['frozen', 'closed', 'frozen', 'closed', 'active']) status \g /dev/null
select is(
    status_events(nobody()), 'account.frozen {"causes": ["admin"]}, account.unfrozen {}',
    'one that was closed in between is thawed when it is open again'
);
select here(frozen()) \g /dev/null
select billing.set_account_status(admin(), frozen(), 'closed', 'r') \g /dev/null
select billing.set_account_status(admin(), frozen(), 'active', 'r') \g /dev/null
select is(told(frozen(), no), null, 'closing an account is told nobody, nor opening it again') from at;

-- An automatic top-up.

create function auto() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000e3'::uuid$$;
select buys(auto(), 10, 'pi_t') \g /dev/null
select customer(auto(), 'cus_t') \g /dev/null
select billing.set_auto_top_up(auto(), true, 5, '10', 100) \g /dev/null
select billing.deduct_credits(auto(), 6) \g /dev/null
select purchase_id as top_up, call_id as top_up_call from billing.request_top_up(auto()) \gset
select here(auto()) \g /dev/null
select billing.claim_stripe_call(:'top_up_call') \g /dev/null
select billing.fail_stripe_call(:'top_up_call', 'Your card was declined.', 'card_declined') \g /dev/null
select is(told(auto(), no), no + 1 || ': auto_top_up.failed', 'a top-up whose charge was refused is told') from at;
select is(
    newest(auto()),
    jsonb_build_object('purchase_id', :'top_up', 'amount', 10, 'price_cents', 1000, 'code', 'card_declined'),
    'which, how much, and why'
);

-- Numbers.

select is_empty(
    $$
    select user_id from billing.billing_events
    group by user_id
    having min(event_no) <> 1 or max(event_no) <> count(*)
    $$,
    'the numbers of a user''s events have no gap'
);
select is_empty(
    $$
    select e.user_id, e.event_no from billing.billing_events e
    join billing.billing_events later on later.user_id = e.user_id and later.event_no = e.event_no + 1
    where later.created_at < e.created_at
    $$,
    'and are in the order of their time'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
