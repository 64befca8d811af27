-- A payment that succeeded grants what was bought, exactly once; one that is not what the purchase says grants nothing.
\ir ../payments.psql

select billing.open_account(a(), 'buyer') \g /dev/null
create temp table made as select * from billing.record_purchase(a(), 12.34);
grant select on made to billing_api;
create function intent(p_id text, p_status text default 'succeeded') returns jsonb language sql as $$
    select stripe_intent(p_id, 1234, (select purchase_id from made), p_status)
$$;

set local role billing_api;
set local tap.now = '2025-03-10 12:01+00';
select rows_are(
    format(
        'select status, stripe_payment_intent_id, entry_no, replayed from billing.complete_purchase(%L, %L)',
        (select purchase_id from made), intent('pi_1', status)
    ),
    format('values (%L, %L::text, null::bigint, false)', ours, id), 'a payment that is ' || status || ' grants nothing'
)
from (values
    (1, 'requires_payment_method', 'pending', null), (2, 'requires_action', 'pending', null),
    (3, 'canceled', 'pending', null), (4, 'processing', 'processing', 'pi_1')
) c (no, status, ours, id)
order by no;
select is((billing.get_account(a())).balance, 0::numeric, 'really nothing');
select is(
    (billing.complete_purchase((select purchase_id from made), intent('pi_1') || '{"amount": 9999}')).status, 'paid',
    'what was received counts, not what was asked for'
);
select rows_are(
    $$
    select status, stripe_payment_intent_id, entry_no, error, completed_at, replayed
    from billing.complete_purchase((select purchase_id from made), intent('pi_1'))
    $$,
    $$values ('paid', 'pi_1', 1::bigint, null::text, '2025-03-10 12:01+00'::timestamptz, true)$$,
    'R06: the same answer again is replayed'
);
select is(
    (billing.complete_purchase((select purchase_id from made), intent('pi_1', 'processing'))).status, 'paid',
    'R27: what Stripe said earlier and comes later changes nothing'
);
select is((billing.get_account(a())).balance, 12.34, 'the credits are there once');
reset role;
select rows_are(
    $$
    select type, amount, balance_after, description, reference_type, reference_id, operation, idempotency_key, metadata,
        actor, created_at
    from billing.credit_ledger where user_id = a()
    $$,
    $$
    select 'purchase', 12.34, 12.34, '12.34 credits bought', 'payment_intent', 'pi_1', 'complete_purchase',
        purchase_id::text, jsonb_build_object('purchase_id', purchase_id, 'price_cents', 1234), null::uuid,
        '2025-03-10 12:01+00'::timestamptz
    from made
    $$,
    'one entry, which names the payment and the purchase'
);
select rows_are(
    $$
    select source, amount, remaining, priority, expires_at, reference_type, reference_id from billing.credit_grants
    where user_id = a()
    $$,
    $$values ('purchase', 12.34, 12.34, 100, null::timestamptz, 'payment_intent', 'pi_1')$$,
    'R29: one lot, which burns last and does not expire'
);
select rows_are(
    $$
    select payment_intent_id, user_id, purchase_id, amount_cents, currency, bought, grant_no, reclaimed, clawed, owed,
        created_at
    from billing.billing_payments
    $$,
    $$
    select 'pi_1', a(), purchase_id, 1234::bigint, 'usd', 12.34, 1::bigint, 0::numeric, 0::numeric, 0::numeric,
        '2025-03-10 12:01+00'::timestamptz
    from made
    $$,
    'and the payment, which knows its lot'
);

-- The money is there: neither status nor tier stop the credits.

select billing.bootstrap_super_admin(chief()) \g /dev/null
create temp table late as
select no, billing.record_purchase(a(), 10 + no, p_idempotency_key => no::text) as purchase from generate_series(1, 4) no;
create function pays(p_no integer, p_id text) returns text language sql as $$
    select concat_ws(' ', status, replayed)
    from billing.complete_purchase(
        (select (purchase).purchase_id from late where no = p_no),
        stripe_intent(p_id, 1000 + 100 * p_no, (select (purchase).purchase_id from late where no = p_no))
    )
$$;
select billing.change_tier(chief(), a(), 'free', 'r') \g /dev/null
select is(pays(1, 'pi_l1'), 'paid f', 'a tier that does not buy credits any more gets what it paid for');
select billing.set_account_status(chief(), a(), 'frozen', 'r') \g /dev/null
select is(pays(2, 'pi_l2'), 'paid f', 'a frozen account too');
select is((billing.get_account(a())).status, 'frozen', 'which stays frozen');
select billing.set_account_status(chief(), a(), 'closed', 'r') \g /dev/null
select is(pays(3, 'pi_l3'), 'paid f', 'and a closed one');
select is((billing.get_account(a())).status, 'closed', 'which stays closed');
select billing.set_account_status(chief(), a(), 'active', 'r') \g /dev/null
select is(
    (
        select array_agg(amount::numeric order by grant_no) from billing.credit_grants
        where user_id = a() and source = 'purchase'
    ),
    array[12.34, 11, 12, 13]::numeric[], 'each has its lot'
);
select billing.fail_stripe_call(((select purchase from late where no = 4)).call_id, 'a timeout') \g /dev/null
select is(
    (select (status, error)::text from billing.get_purchase(a(), (select (purchase).purchase_id from late where no = 4))),
    '(failed,"a timeout")', 'a purchase that failed'
);
select is(pays(4, 'pi_l4'), 'paid f', 'R27: is paid when the payment comes after all');
select is(
    (billing.get_purchase(a(), (select (purchase).purchase_id from late where no = 4))).error, null::text,
    'and is no failure'
);

-- Debt is repaid from it, visibly.

select billing.open_account(b(), 'buyer') \g /dev/null
update billing.credit_accounts set debt = 4 where user_id = b();
select buys(b(), 10, 'pi_b') \g /dev/null
select rows_are(
    'select type, amount, balance_after from billing.credit_ledger where user_id = b() order by entry_no',
    $$values ('purchase', 10::numeric, 10::numeric), ('debt_repayment', -4, 6)$$, 'debt is repaid first'
);
select is(
    (select (status, entry_no)::text from billing.list_purchases(b())), '(paid,1)', 'the purchase names its own entry'
);

-- Payments that are not what the purchase says.

select customer(a(), 'cus_a'), customer(b(), 'cus_b') \g /dev/null
select billing.record_purchase(b(), 20, p_idempotency_key => 'open') as open \gset
select billing.record_stripe_object(
    stripe_intent(id, cents, p_customer => of, p_currency => coin)
)
from (values
    ('pi_sub1', 2000, 'cus_a', 'usd'), ('pi_sub2', 1999, 'cus_b', 'usd'), ('pi_sub3', 2000, 'cus_b', 'eur')
) c (id, cents, of, coin) \g /dev/null
create temp table before as select count(*) as entries from billing.credit_ledger;
create function open_id() returns uuid language sql as $$
    select purchase_id from billing.credit_purchases where idempotency_key = 'open'
$$;
select throws_ok(
    format('select billing.complete_purchase(%L, %L)', open_id(), p_intent), 'UC409', 'payment_mismatch', difference
)
from (values
    (stripe_intent('pi_2', 1999, open_id()), 'a cent too little'),
    (stripe_intent('pi_2', 2001, open_id()), 'a cent too much'),
    (stripe_intent('pi_2', 2000, open_id(), p_currency => 'jpy'), 'another currency'),
    (stripe_intent('pi_2', 2000, open_id(), p_customer => 'cus_a'), 'another user''s customer'),
    (stripe_intent('pi_2', 2000), 'a foreign payment, that names no purchase'),
    (stripe_intent('pi_2', 2000, a()), 'one that names another purchase'),
    (stripe_intent('pi_2', 2000, a(), 'processing'), 'even when it has not succeeded'),
    (stripe_intent('pi_2', 2000) || '{"metadata": {"purchase_id": "x"}}', 'one that names no id'),
    (stripe_intent('pi_1', 2000, open_id()), 'a payment that paid another user''s purchase'),
    (stripe_intent('pi_sub1', 2000, open_id()), 'or another user''s subscription'),
    (stripe_intent('pi_sub2', 2000, open_id()), 'a payment that was of another amount before'),
    (stripe_intent('pi_sub3', 2000, open_id()), 'or of another currency')
) c (p_intent, difference);
select buys(b(), 20, 'pi_20') \g /dev/null
select throws_ok(
    format('select billing.complete_purchase(%L, %L)', open_id(), stripe_intent('pi_20', 2000, open_id())), 'UC409',
    'payment_mismatch', 'a payment pays one purchase'
);
select throws_ok(
    format(
        'select billing.complete_purchase(%L, %L)', (select purchase_id from made),
        stripe_intent('pi_2', 1234, (select purchase_id from made))
    ),
    'UC409', 'payment_mismatch', 'a purchase is paid by one payment: a second one does not go by unseen'
);
select is(
    (select concat_ws(' ', status, stripe_payment_intent_id, entry_no) from billing.get_purchase(b(), open_id())),
    'pending',
    'none of it has touched the purchase'
);
select is(
    (select count(*) from billing.credit_ledger where user_id in (a(), b())), (select entries + 1 from before),
    'nor the ledger'
);
select is_empty(
    'select from billing.billing_payments where payment_intent_id = ''pi_2''', 'nor left a payment'
);
select is(
    (billing.complete_purchase(open_id(), stripe_intent('pi_3', 2000, open_id(), p_customer => 'cus_b'))).status,
    'paid',
    'the right one pays it'
);

-- Requests that are none.

select throws_ok('select billing.complete_purchase(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('open_id(), null', 'UC400', 'invalid_request'),
    ('open_id(), ''{}''', 'UC400', 'invalid_request'),
    ('open_id(), ''[]''', 'UC400', 'invalid_request'),
    ('open_id(), stripe_intent(''pi_9'', 2000, open_id()) || ''{"object": "charge"}''', 'UC400', 'invalid_request'),
    ('a(), stripe_intent(''pi_9'', 2000, a())', 'UC404', 'purchase_not_found'),
    ('null, stripe_intent(''pi_9'', 2000)', 'UC404', 'purchase_not_found')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
