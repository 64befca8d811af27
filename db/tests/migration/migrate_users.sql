-- A user is moved with what the old system left: the rest of the month, each purchase with what is left of it, and
-- nothing more, however often it is asked for; whom something keeps from it is told why, and stops nobody.
\ir ../legacy.psql

create function u(p_number integer) returns uuid immutable language sql as
    $$select ('00000000-0000-0000-0001-' || lpad(p_number::text, 12, '0'))::uuid$$;

-- One user with everything.

select old_user(a(), 'price_tier_2_20_monthly') \g /dev/null
select old_usage(a(), 10.123456789) \g /dev/null
select old_purchase(a(), 'p1', 10, '2025-01-01 00:00+00'), old_purchase(a(), 'p2', 20.000000001, '2025-01-02 00:00+00'),
    old_purchase(a(), 'p3', 30, '2025-01-03 00:00+00') \g /dev/null
select old_credit(a(), 40.000000002) \g /dev/null
select is(
    (select r::text from billing.migrate_users(array[a()]) r),
    format('(%s,migrated,,,tier_2_20,active,10.123456789,25,14.876543211,40.000000002,3,54.876543213)', a()),
    'the rest of the month, and what is left of bought credit'
);
select is(account(a()), 'tier_2_20 active 54.876543213 0', 'are on an account of the tier');
select rows_are(
    $$
    select entry_no, type, amount, balance_after, used_after, operation, idempotency_key, reference_type, reference_id,
        actor, created_at, description, metadata - 'purchase_id'
    from billing.credit_ledger where user_id = a() order by entry_no
    $$,
    $$
    values
        (
            1, 'migration', 14.876543211, 14.876543211, 0, 'migrate_users', '1/period/2025-03', 'period', '2025-03',
            null, tap_now(), 'Rest of the credits of 2025-03',
            '{"monthly_credits": 25, "usage_before": 10.123456789}'::jsonb
        ),
        (
            2, 'migration', 10.000000002, 24.876543213, 0, 'migrate_users', '1/legacy_purchase/p2', 'legacy_purchase',
            'p2', null, tap_now(), 'Left of a purchase of 20.000000001 credits',
            '{"amount": 20.000000001, "spent_before": 9.999999999}'
        ),
        (
            3, 'migration', 30, 54.876543213, 0, 'migrate_users', '1/legacy_purchase/p3', 'legacy_purchase', 'p3', null,
            tap_now(), 'Left of a purchase of 30 credits', '{"amount": 30, "spent_before": 0}'
        )
    $$,
    'each part is an entry that says what it came from'
);
select rows_are(
    $$
    select grant_no, source, amount, remaining, priority, expires_at, granted_at, entry_no, reference_type, reference_id
    from billing.credit_grants where user_id = a() order by grant_no
    $$,
    $$
    values
        (
            1, 'tier_grant', 14.876543211, 14.876543211, 10, '2025-04-01 00:00+00'::timestamptz, tap_now(), 1, 'period',
            '2025-03'
        ),
        (2, 'purchase', 10.000000002, 10.000000002, 100, null, tap_now(), 2, 'legacy_purchase', 'p2'),
        (3, 'purchase', 30, 30, 100, null, tap_now(), 3, 'legacy_purchase', 'p3')
    $$,
    'and a lot: the month''s ends with the month, bought ones never'
);
select rows_are(
    $$
    select legacy_purchase_id, kind, amount, price_cents, status, spent_before, stripe_payment_intent_id, entry_no,
        created_at, completed_at
    from billing.credit_purchases where user_id = a() order by legacy_purchase_id
    $$,
    $$
    values
        (
            'p1', 'migration', 10, 1000, 'paid', 10, 'pi_p1', null, '2025-01-01 00:00+00'::timestamptz,
            '2025-01-01 00:00+00'::timestamptz
        ),
        (
            'p2', 'migration', 20.000000001, 2001, 'paid', 9.999999999, 'pi_p2', 2, '2025-01-02 00:00+00',
            '2025-01-02 00:00+00'
        ),
        ('p3', 'migration', 30, 3000, 'paid', 0, 'pi_p3', 3, '2025-01-03 00:00+00', '2025-01-03 00:00+00')
    $$,
    'the oldest was spent first, to the last decimal; one that was spent has a row, and no entry'
);
select rows_are(
    $$
    select p.payment_intent_id, p.amount_cents, p.currency, p.bought, p.grant_no, p.created_at, c.legacy_purchase_id
    from billing.billing_payments p join billing.credit_purchases c using (purchase_id)
    where p.user_id = a() order by 1
    $$,
    $$
    values
        ('pi_p1', 1000, 'usd', 10, null, '2025-01-01 00:00+00'::timestamptz, 'p1'),
        ('pi_p2', 2001, 'usd', 20.000000001, 2, '2025-01-02 00:00+00', 'p2'),
        ('pi_p3', 3000, 'usd', 30, 3, '2025-01-03 00:00+00', 'p3')
    $$,
    'the payments are known, each with its lot'
);
select rows_are(
    $$
    select status, round, tier, period, usage_before, monthly_credits, tier_credits, bought_credit, purchases, month_granted,
        first_entry_no, last_entry_no, returned, migrated_at, rolled_back_at
    from billing.user_migrations where user_id = a()
    $$,
    $$
    values (
        'migrated', 1, 'tier_2_20', '2025-03-01'::date, 10.123456789, 25, 14.876543211, 40.000000002, 3, 25, 1, 3, null,
        tap_now(), null
    )
    $$,
    'the migration is recorded, with its numbers'
);
select rows_are(
    'select stripe_customer_id, created_at from billing.billing_customers where user_id = a()',
    $$values ('cus_0a', tap_now())$$, 'the customer at Stripe comes along'
);
select rows_are(
    $$
    select stripe_subscription_id, tier, billing_interval, status, current_period_start, current_period_end,
        stripe_price_id, stripe_item_id, synced_at, cancel_at_period_end
    from billing.billing_subscriptions where user_id = a()
    $$,
    $$
    values (
        'sub_0a', 'tier_2_20', 'month', 'active', '2025-03-05 00:00+00'::timestamptz,
        '2025-04-05 00:00+00'::timestamptz,
        'price_tier_2_20_monthly', null, '-infinity', false
    )
    $$,
    'and the subscription, as one of which Stripe was not asked yet'
);
select rows_are(
    'select price_id, tier from billing.tier_prices', $$values ('price_tier_2_20_monthly', 'tier_2_20')$$,
    'its price means a tier'
);
select is(
    (
        select granted_through::text || ' ' || last_grant_at || ' ' || next_expiry_at
        from billing.credit_accounts where user_id = a()
    ),
    '2025-03-01 ' || tap_now() || ' ' || '2025-04-01 00:00+00'::timestamptz, 'the month is done'
);
select is_empty('select * from billing.verify_account(a())', 'the chain of its entries verifies');
select is_empty('select * from billing.verify_migration(array[a()])', 'and so does the migration');
select is(
    (select sum(amount - spent_before)::text from billing.credit_purchases where user_id = a()), '40.000000002',
    'what is left of purchases sums up to the bought credit'
);

set local tap.now = '2025-03-11 12:00+00';
select is(
    (select r::text from billing.migrate_users(array[a(), a(), null]) r),
    format('(%s,already_migrated,,,tier_2_20,,10.123456789,25,14.876543211,40.000000002,3,54.876543213)', a()),
    'R31: again, it tells what was done'
);
select is(entries(a()), 'migration 14.876543211, migration 10.000000002, migration 30', 'R31: and does nothing');
select is(
    (select migrated_at from billing.user_migrations where user_id = a()), '2025-03-10 12:00+00'::timestamptz,
    'nor is it recorded again'
);
select billing.deduct_credits(a(), 44.876543213) \g /dev/null
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select is(
    lots(a()), 'promotion 1, purchase 10', 'the month''s credits burn first, then the oldest purchase'
);

-- Tiers.

set local tap.now = '2025-03-10 12:00+00';
select old_user(u(1)), old_user(u(2), 'price_tier_200_1000_yearly', 'trialing'),
    old_user(u(3), 'price_tier_6_50_monthly', 'canceled'),
    old_user(u(4), 'price_tier_6_50_monthly', 'incomplete_expired'),
    old_user(u(5), 'price_gone', 'canceled')
\g /dev/null
update legacy_billing.subscriptions set current_period_end = '2026-03-05 00:00+00' where subscription_id = 'sub_02';
select rows_are(
    $$
    select user_id, outcome, tier, subscription_status, monthly_credits, tier_credits, balance
    from billing.migrate_users(array[u(5), u(1), u(3), u(2), u(4)])
    $$,
    $$
    values
        (u(1), 'migrated', 'free', null, 5, 5, 5), (u(2), 'migrated', 'tier_200_1000', 'trialing', 1005, 1005, 1005),
        (u(3), 'migrated', 'free', 'canceled', 5, 5, 5), (u(4), 'migrated', 'free', 'incomplete_expired', 5, 5, 5),
        (u(5), 'migrated', 'free', 'canceled', 5, 5, 5)
    $$,
    'the tier is that of the price of a subscription that runs; otherwise free'
);
select is(
    (
        select string_agg(user_id::text || status, ', ' order by user_id)
        from billing.billing_subscriptions where user_id between u(3) and u(5)
    ),
    u(3) || 'canceled, ' || u(4) || 'incomplete_expired',
    'a subscription that has ended is history, if its tier is known'
);
select is(
    (select billing_interval from billing.billing_subscriptions where user_id = u(2)), 'year',
    'how long a period lasts is how long the present one does'
);
select old_user(u(6), 'price_tier_6_50_monthly'), old_user(u(6), 'price_tier_12_100_monthly', 'canceled', 'cus_06'),
    old_user(u(6), 'price_tier_2_20_monthly', 'active', 'cus_06') \g /dev/null
select is(moves(u(6)), 'migrated tier_6_50 55 0 55', 'of several that are paid the highest tier counts');
select is(
    (select count(*) from billing.billing_subscriptions where user_id = u(6)), 3::bigint, 'all of them are known here'
);
select old_user(u(7), 'price_tier_200_1000_monthly', 'past_due', 'cus_07'),
    old_user(u(7), 'price_tier_2_20_monthly', 'active', 'cus_07') \g /dev/null
select is(moves(u(7)), 'migrated tier_2_20 25 0 25', 'one that is paid counts more than a higher one that is not');
select old_user(u(8), 'price_tier_2_20_monthly', 'active', 'cus_08'),
    old_user(u(8), 'price_tier_6_50_monthly', 'canceled', 'cus_08_before') \g /dev/null
select is(moves(u(8)), 'migrated tier_2_20 25 0 25', 'a customer whose subscription has ended is in nobody''s way');
select is(
    (select stripe_customer_id from billing.billing_customers where user_id = u(8)), 'cus_08', 'nor the one that counts'
);

-- A price of the old system says nothing of a tier to Stripe; it does here, from the first user on who has brought it.

create function tells(p_price_id text, p_id text, p_customer text, p_status text default 'active') returns boolean
language sql as $$
    select billing.record_stripe_object(jsonb_set(
        stripe_subscription(p_id, p_customer, 'x', p_status), '{items,data,0,price}',
        jsonb_build_object(
            'id', p_price_id, 'object', 'price', 'recurring', '{"interval": "month"}'::jsonb, 'metadata', '{}'::jsonb,
            'lookup_key', null
        )
    ))
$$;
select is(
    tells('price_tier_12_100_monthly', 'sub_06', 'cus_06'), true, 'an upgrade to one of them is understood'
);
select is(account(u(6)), 'tier_12_100 active 105 0', 'and granted');
select is(
    tells('price_tier_6_50_monthly', 'sub_06', 'cus_06', 'canceled'), true, 'so is the end of an old subscription'
);
select is(account(u(6)), 'tier_2_20 active 105 0', 'and followed');
select old_user(u(188), 'price_tier_6_50_monthly', 'active', 'cus_who_waits') \g /dev/null
select is(
    tells('price_tier_6_50_monthly', 'sub_88', 'cus_who_waits', 'canceled'), false,
    'one of a user who waits is none of ours'
);
select is(moves(u(188)), 'migrated tier_6_50 55 0 55', 'who is migrated as the old system has it');
select rows_are(
    $$select kind, status from billing.stripe_calls where user_id = u(188)$$, $$values ('subscriptions', 'pending')$$,
    'and Stripe is asked again'
);
select throws_ok(
    $$select tells('price_tier_6_50_monthly', 'sub_x', 'cus_of_nobody')$$, 'UC404', 'customer_not_found',
    'one of a customer whom neither system knows is somebody''s mistake'
);
select throws_ok(
    $$select tells('price_unheard_of', 'sub_06', 'cus_06')$$, 'UC404', 'unknown_tier',
    'a price that nobody has brought means nothing'
);

-- Not paid.

select old_user(b(), 'price_tier_6_50_monthly', 'past_due') \g /dev/null
select old_usage(b(), 7), old_credit(b(), 3) \g /dev/null
select is(moves(b()), 'migrated tier_6_50 0 3 3', 'an overdue payment keeps the tier, and the credits wait');
select rows_are(
    'select month_granted, usage_before, tier_credits from billing.user_migrations where user_id = b()', 'values (7, 7, 0)',
    'what counts as granted is what was used'
);
select is(
    billing.record_stripe_object(stripe_subscription('sub_0b', 'cus_0b', 'tier_6_50', 'past_due')), true,
    'told again that it is not paid'
);
select is(account(b()), 'tier_6_50 active 3 0', 'nothing moves');
set local tap.now = '2025-03-20 12:00+00';
select billing.record_stripe_object(stripe_subscription('sub_0b', 'cus_0b', 'tier_6_50')) \g /dev/null
select is(account(b()), 'tier_6_50 active 51 0', 'R31: once it is paid, the rest of the month is granted');
select is(lots(b()), 'tier_grant 48 2025-04-01 00:00:00, migration 3', 'until the month ends');
select billing.record_stripe_object(stripe_subscription('sub_0b', 'cus_0b', 'tier_6_50')) \g /dev/null
select is(account(b()), 'tier_6_50 active 51 0', 'once');
select is_empty('select * from billing.verify_migration(array[b()])', 'and that is no difference');
set local tap.now = '2025-03-10 12:00+00';
select old_user(u(10), 'price_tier_2_20_monthly', 'unpaid'), old_usage(u(10), 26),
    old_user(u(11), 'price_tier_2_20_monthly', 'paused') \g /dev/null
select is(moves(u(10)), 'migrated tier_2_20 0 0 0', 'so do those that are unpaid');
select is(moves(u(11)), 'migrated tier_2_20 0 0 0', 'or paused');
select is(
    (select month_granted from billing.user_migrations where user_id = u(10)), 25::numeric, 'what was used above is let go'
);
set local tap.now = '2025-04-10 12:00+00';
select billing.record_stripe_object(stripe_subscription('sub_11', 'cus_11', 'tier_2_20', 'past_due')) \g /dev/null
select is(account(u(11)), 'tier_2_20 active 0 0', 'while it is not paid, no month is granted');
select billing.record_stripe_object(
    stripe_subscription('sub_11', 'cus_11', 'tier_2_20', 'active', '2025-04-05 00:00+00', '2025-05-05 00:00+00')
) \g /dev/null
select is(account(u(11)), 'tier_2_20 active 25 0', 'and then the present one in full');

-- The month.

set local tap.now = '2025-03-31 23:59:59.999999+00';
select old_user(u(20)), old_user(u(21)), old_user(u(22)), old_user(u(23)), old_user(u(24)), old_user(u(25)) \g /dev/null
select old_usage(u(20), 1, '2025-02-28 23:59:59.999999+00'), old_usage(u(21), 1, '2025-03-01 00:00+00'),
    old_usage(u(22), 1, '2025-03-31 23:59:59.999999+00'), old_usage(u(23), 1, '2025-04-01 00:00+00'),
    -- Local midnights: 11:00 of the day before, 10:00 of the same day.
    old_usage(u(24), 1, '2025-03-01 00:00+13'), old_usage(u(24), 2, '2025-02-28 14:00-10'),
    old_usage(u(25), 5), old_usage(u(25), 0.000000001) \g /dev/null
select rows_are(
    $$
    select user_id, usage_before, tier_credits
    from billing.migrate_users(array[u(20), u(21), u(22), u(23), u(24), u(25)])
    $$,
    $$
    values (u(20), 0, 5), (u(21), 1, 4), (u(22), 1, 4), (u(23), 0, 5), (u(24), 2, 3), (u(25), 5.000000001, 0)
    $$,
    'usage is that of the calendar month in UTC, from its first microsecond to its last'
);
select is(lots(u(20)), 'tier_grant 5 2025-04-01 00:00:00', 'a lot ends with the month, if a microsecond later');
select is(entries(u(25)), null, 'usage above the credits leaves no entry of the month');
select is(lots(u(25)), null, 'and no lot');
select rows_are(
    'select first_entry_no, last_entry_no, month_granted from billing.user_migrations where user_id = u(25)',
    'values (1, 0, 5)', 'the record says so'
);
select is(
    (select last_grant_at::text || next_expiry_at::text from billing.credit_accounts where user_id = u(25)), null,
    'nothing was granted, and nothing will expire'
);
set local tap.now = '2025-12-31 23:30+00';
select old_user(u(26), 'price_tier_2_20_monthly') \g /dev/null
update legacy_billing.subscriptions
set current_period_start = '2025-12-31 12:00+00', current_period_end = '2026-01-31 12:00+00'
where subscription_id = 'sub_26';
select old_usage(u(26), 1, '2025-12-01 00:00+00'), old_usage(u(26), 2, '2025-11-30 23:59+00') \g /dev/null
set local timezone = 'Pacific/Auckland';
select is(
    moves(u(26)), 'migrated tier_2_20 24 0 24',
    'R30: the month is December''s, whatever the time zone and the subscription''s period that ends on a 31st'
);
reset timezone;
select is(lots(u(26)), 'tier_grant 24 2026-01-01 00:00:00', 'R30: and its credits end with the year');
select rows_are(
    'select period, month_granted from billing.user_migrations where user_id = u(26)', $$values ('2025-12-01'::date, 25)$$,
    'R30: it is the period that counts'
);
set local tap.now = '2026-01-01 00:00+00';
select is((billing.get_account(u(26))).balance, 0::numeric, 'R30: at midnight they are gone');

-- Purchases and credit.

set local tap.now = '2025-03-10 12:00+00';
select old_user(u(30)), old_credit(u(30), 8) \g /dev/null
select old_purchase(u(30), 'q_late', 5, '2025-01-05 00:00+00'),
    old_purchase(u(30), 'q_failed', 9, '2025-02-01 00:00+00', 'failed'),
    old_purchase(u(30), 'q_pending', 9, '2025-02-02 00:00+00', 'pending'),
    old_purchase(u(30), 'q_refunded', 9, '2025-02-03 00:00+00', 'refunded'),
    old_purchase(u(30), 'q_b', 2, '2025-01-04 00:00+00'), old_purchase(u(30), 'q_a', 2, '2025-01-04 00:00+00'),
    old_purchase(u(30), 'q_old', 2, '2025-01-03 00:00+00') \g /dev/null
-- What counts is when it was paid.
update legacy_billing.purchases set completed_at = '2025-01-06 00:00+00' where purchase_id = 'q_old';
update legacy_billing.purchases set completed_at = null where purchase_id = 'q_b';
select is(moves(u(30)), 'migrated free 5 8 13', 'only purchases that were paid explain credit');
select rows_are(
    $$
    select legacy_purchase_id, status, spent_before, entry_no, completed_at
    from billing.credit_purchases where user_id = u(30) order by legacy_purchase_id
    $$,
    $$
    values
        ('q_a', 'paid', 2, null, '2025-01-04 00:00+00'::timestamptz), ('q_b', 'paid', 1, 2, '2025-01-04 00:00+00'),
        ('q_failed', 'failed', 0, null, null), ('q_late', 'paid', 0, 3, '2025-01-05 00:00+00'),
        ('q_old', 'paid', 0, 4, '2025-01-06 00:00+00'), ('q_pending', 'pending', 0, null, null),
        ('q_refunded', 'refunded', 0, null, null)
    $$,
    'each is kept, as what it became; of two at the same time the one of the lower id is the older'
);
select is(
    (
        select string_agg(payment_intent_id, ' ' order by payment_intent_id) from billing.billing_payments
        where user_id = u(30)
    ),
    'pi_q_a pi_q_b pi_q_late pi_q_old', 'a payment that is not there, or went back, is none'
);
select old_user(u(31)), old_credit(u(31), 7.000000001), old_user(u(32)), old_credit(u(32), 12.5),
    old_purchase(u(32), 'r', 10, '2025-01-01 00:00+00'), old_user(u(33)), old_credit(u(33), 0),
    old_purchase(u(33), 's', 10, '2025-01-01 00:00+00') \g /dev/null
update legacy_billing.purchases set stripe_payment_intent_id = null where purchase_id = 'r';
select is(moves(u(31)), 'migrated free 5 7.000000001 12.000000001', 'credit without purchases');
select is(
    lots(u(31)), 'tier_grant 5 2025-04-01 00:00:00, migration 7.000000001', 'is a lot of its own, without an end'
);
select is(
    (
        select concat_ws(' ', priority, reference_type, reference_id)
        from billing.credit_grants where user_id = u(31) and grant_no = 2
    ),
    '100 legacy_credit', 'which burns as what was bought'
);
select is(moves(u(32)), 'migrated free 5 12.5 17.5', 'so is what is more than was bought');
select is(lots(u(32)), 'tier_grant 5 2025-04-01 00:00:00, purchase 10, migration 2.5', 'beside the purchase');
select is(moves(u(33)), 'migrated free 5 0 5', 'all of it was spent');
select is(entries(u(33)), 'migration 5', 'which leaves no entry');
select is_empty(
    'select * from billing.verify_migration(array[u(30), u(31), u(32), u(33)])', 'it is all as the old system had it'
);

-- An old payment is refunded, or disputed.

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select rows_are(
    $$select success, clawed, spent from billing.request_refund(chief(), u(30), 2, 'r', true, 'pi_q_b')$$,
    'values (true, 1, 1)', 'a refund of an old payment takes what is left of its lot, and tells what was spent'
);
select is(
    lots(u(30)), 'tier_grant 5 2025-04-01 00:00:00, purchase 5, purchase 2', 'no other lot'
);
select billing.record_stripe_object(stripe_dispute('dp_s', 'pi_s', 1000)) \g /dev/null
select is(account(u(33)), 'free frozen 5 0', 'a dispute of an old payment freezes the account');
select billing.record_stripe_object(stripe_dispute('dp_s', 'pi_s', 1000, 'lost')) \g /dev/null
select is(account(u(33)), 'free active 5 10', 'and when it is lost, what the old system spent is owed');
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

-- A purchase that was pending is paid here.

select is(
    (billing.legacy_record_purchase(u(30), 9, 900, 'pi_q_pending')).status, 'completed', 'what was open is paid later'
);
select is(lots(u(30)), 'tier_grant 5 2025-04-01 00:00:00, purchase 5, purchase 2, purchase 9', 'it is a lot here');
select is_empty('select * from billing.verify_migration(array[u(30)])', 'and that is no difference');

-- Credits of the month count once.

select old_user(u(40)), old_usage(u(40), 2), old_user(u(41)), old_usage(u(41), 9),
    old_user(u(42), 'price_tier_2_20_monthly'), old_usage(u(42), 30) \g /dev/null
select billing.migrate_users(array[u(40), u(41), u(42)]) \g /dev/null
select billing.change_tier(admin(), u(40), 'tier_2_20', 'r'), billing.change_tier(admin(), u(41), 'tier_2_20', 'r'),
    billing.change_tier(admin(), u(42), 'tier_6_50', 'r') \g /dev/null
select is(account(u(40)), 'tier_2_20 active 23 0', 'R11: an upgrade in the month grants the difference of the tiers');
select is(account(u(41)), 'tier_2_20 active 20 0', 'R11: no more, when more was used than the old tier had');
select is(account(u(42)), 'tier_6_50 active 30 0', 'R11: whatever the tier was');
select is(
    (select day_total from billing.user_roles where user_id = admin()), 70::numeric,
    'and counts as much in the admin''s day'
);
select billing.change_tier(admin(), u(40), 'free', 'r'), billing.change_tier(admin(), u(40), 'tier_2_20', 'r')
\g /dev/null
select is(account(u(40)), 'tier_2_20 active 23 0', 'R11: down and up again grants nothing');
select old_user(u(43), 'price_tier_2_20_monthly', 'past_due'), old_usage(u(43), 4) \g /dev/null
select billing.migrate_users(array[u(43)]) \g /dev/null
select billing.record_stripe_object(stripe_subscription('sub_43', 'cus_43', 'tier_6_50')) \g /dev/null
select is(
    account(u(43)), 'tier_6_50 active 51 0', 'an upgrade with the payment grants what the month has beyond the usage'
);
set local tap.now = '2025-04-03 12:00+00';
select billing.change_tier(admin(), u(42), 'tier_6_50', 'r'), billing.change_tier(admin(), u(41), 'tier_6_50', 'r')
\g /dev/null
select is(account(u(42)), 'tier_6_50 active 55 0', 'the next month is granted in full');
select is(account(u(41)), 'tier_6_50 active 55 0', 'and an upgrade then counts what was caught up');
set local tap.now = '2025-03-10 12:00+00';

-- Those who can't be moved, each by name; the others are.

select old_user(u(50), 'price_x'), old_user(u(51), 'price_tier_2_20_monthly', 'active', 'cus_51a'),
    old_user(u(51), 'price_tier_2_20_monthly', 'past_due', 'cus_51b'),
    old_user(u(52), null, null, 'cus_52'), old_user(u(53), null, null, 'cus_52'),
    old_user(u(54)), old_credit(u(54), -0.01), old_user(u(55)),
    old_purchase(u(55), 't', 0, '2025-01-01 00:00+00', 'completed', 1),
    old_user(u(56)), old_purchase(u(56), 'u', 1, '2025-01-01 00:00+00', 'completed', 0),
    old_user(u(57)), old_purchase(u(57), 'v', 1, '2025-01-01 00:00+00', 'lost'),
    old_user(u(58)), old_purchase(u(58), 'w', 0.0000000001, '2025-01-01 00:00+00'),
    old_user(u(59)), old_purchase(u(59), 'x1', 1, '2025-01-01 00:00+00'),
    old_purchase(u(59), 'x2', 1, '2025-01-01 00:00+00'),
    old_user(u(60)), old_purchase(u(60), 'y', 1, '2025-01-01 00:00+00'),
    old_user(u(61)), old_credit(u(61), 1000000000000.01), old_user(u(62)), old_credit(u(62), 0.0000000001),
    old_user(u(63)), old_usage(u(63), 0.0000000001), old_user(u(64)), old_usage(u(64), 'NaN'),
    old_user(u(65)), old_credit(u(65), 'infinity'), old_user(u(66)),
    old_purchase(u(66), repeat('p', 151), 1, '2025-01-01 00:00+00'),
    old_user(u(67), null, null, 'cus_0a'), old_user(u(68)), old_purchase(u(68), 'z', 1, '2025-01-01 00:00+00'),
    old_user(u(69)), old_user(u(70)), old_purchase(u(70), 'zz', 1, '2025-01-01 00:00+00'),
    old_user(u(71), null, null, 'cus_of_chief')
\g /dev/null
update legacy_billing.purchases set stripe_payment_intent_id = 'pi_x1' where purchase_id = 'x2';
update legacy_billing.purchases set stripe_payment_intent_id = 'pi_p1' where purchase_id = 'y';
update legacy_billing.purchases set stripe_payment_intent_id = 'pi_of_chief' where purchase_id = 'z';
update legacy_billing.purchases set price_cents = null where purchase_id = 'zz';
select buys(chief(), 10, 'pi_of_chief') \g /dev/null
select customer(chief(), 'cus_of_chief') \g /dev/null
select rows_are(
    $$
    select right(user_id::text, 2), outcome, problem, detail
    from billing.migrate_users(array(select u(n) from generate_series(50, 71) n) || nobody()) order by user_id
    $$,
    $$
    values
        ('ff', 'refused', 'unknown_user', 'The old system does not know the user.'),
        ('50', 'refused', 'unknown_price', 'No tier is known for price price_x.'),
        ('51', 'refused', 'several_customers', 'Subscriptions of more than one customer are running.'),
        ('52', 'refused', 'shared_customer', 'Customer cus_52 is another user too.'),
        ('53', 'refused', 'shared_customer', 'Customer cus_52 is another user too.'),
        ('54', 'refused', 'negative_credit', 'Bought credit is -0.01.'),
        ('55', 'refused', 'invalid_purchase', 'Purchase t has an amount, price, status, time, id or payment that is none.'),
        ('56', 'refused', 'invalid_purchase', 'Purchase u has an amount, price, status, time, id or payment that is none.'),
        ('57', 'refused', 'invalid_purchase', 'Purchase v has an amount, price, status, time, id or payment that is none.'),
        ('58', 'refused', 'invalid_purchase', 'Purchase w has an amount, price, status, time, id or payment that is none.'),
        ('59', 'refused', 'shared_payment', 'Payment pi_x1 paid another purchase too.'),
        ('60', 'refused', 'shared_payment', 'Payment pi_p1 paid another purchase too.'),
        ('61', 'refused', 'amount_too_large', 'Usage 0, bought credit 1000000000000.01, limit 5.00.'),
        ('62', 'refused', 'amount_too_precise', 'Usage 0, bought credit 0.0000000001, limit 5.00.'),
        ('63', 'refused', 'amount_too_precise', 'Usage 0.0000000001, bought credit 0, limit 5.00.'),
        ('64', 'refused', 'amount_too_large', 'Usage NaN, bought credit 0, limit 5.00.'),
        ('65', 'refused', 'amount_too_large', 'Usage 0, bought credit Infinity, limit 5.00.'),
        (
            '66', 'refused', 'invalid_purchase',
            format('Purchase %s has an amount, price, status, time, id or payment that is none.', repeat('p', 151))
        ),
        ('67', 'refused', 'shared_customer', 'Customer cus_0a is another user too.'),
        ('68', 'refused', 'shared_payment', 'Payment pi_of_chief paid another purchase too.'),
        ('69', 'migrated', null, null),
        ('70', 'refused', 'invalid_purchase', 'Purchase zz has an amount, price, status, time, id or payment that is none.'),
        ('71', 'refused', 'shared_customer', 'Customer cus_of_chief is another user too.')
    $$,
    'each is told what keeps it, and stops nobody'
);
select is(
    (
        select string_agg(right(user_id::text, 2), ' ')
        from billing.credit_accounts where user_id between u(50) and u(71)
    ), '69',
    'those have no account'
);
select is(
    (
        select count(*) from billing.credit_purchases c
        where user_id between u(50) and u(71)
    ) + (
        select count(*) from billing.user_migrations where user_id between u(50) and u(71) and status <> 'none'
    ), 1::bigint,
    'and nothing else of them is here'
);
update legacy_billing.subscriptions set price_id = 'price_tier_2_20_monthly' where price_id = 'price_x';
select is(moves(u(50)), 'migrated tier_2_20 25 0 25', 'what is put right there is moved the next time');

select throws_ok(
    'select billing.migrate_users(' || p_ids || ')', 'UC400', 'invalid_request', 'not for ' || left(p_ids, 40)
)
from unnest(array[
    'null', 'array[]::uuid[]', 'array[null]::uuid[]', 'array(select gen_random_uuid() from generate_series(1, 1001))'
]) p_ids;
select is(
    (select count(*) from billing.migrate_users(array(select u(n) from generate_series(1001, 2000) n))), 1000::bigint,
    'a thousand at once'
);

-- An account that is there already. It comes about when the old system learns of a user later.

select billing.open_account(c()) \g /dev/null
select billing.deduct_credits(c(), 1) \g /dev/null
set local tap.now = '2025-03-10 13:00+00';
select old_user(c(), 'price_tier_2_20_monthly') \g /dev/null
select is(
    (
        select concat_ws(' ', outcome, trim_scale(tier_credits), trim_scale(balance))
        from billing.plan_migration(array[c()])
    ),
    'planned 20 24', 'only the difference is planned'
);
select is(moves(c()), 'migrated tier_2_20 20 0 24', 'only the difference of the month''s credits is granted');
select rows_are(
    'select month_granted, first_entry_no, last_entry_no, round from billing.user_migrations where user_id = c()',
    'values (25, 3, 3, 1)', 'all of it counts'
);
select is(account(c()), 'tier_2_20 active 24 0', 'the account has the tier that is paid for');
select is(
    (select last_grant_at || ' ' || updated_at from billing.credit_accounts where user_id = c()),
    tap_now() || ' ' || tap_now(),
    'and was granted something when it was moved'
);
select billing.change_tier(admin(), c(), 'tier_6_50', 'r') \g /dev/null
select is(account(c()), 'tier_6_50 active 54 0', 'R11: an upgrade grants the difference to that');

-- Credit of somebody who is no customer yet.
alter table legacy_billing.bought_credit disable trigger bought_credit_customer;
select old_purchase(d(), 'd1', 5, '2025-01-01 00:00+00'), old_credit(d(), 7) \g /dev/null
select billing.open_account(d(), 'tier_12_100') \g /dev/null
select billing.change_tier(admin(), d(), 'tier_6_50', 'r') \g /dev/null
update billing.credit_accounts set debt = 6 where user_id = d();
select old_user(d(), 'price_tier_2_20_monthly') \g /dev/null
select is(
    moves(d()), 'migrated tier_2_20 0 7 106',
    'nothing of the month is granted to who was given more; a debt is repaid first'
);
select is(account(d()), 'tier_6_50 active 106 0', 'a higher tier of its own stays');
select is(
    entries(d(), 1), 'migration 5, debt_repayment -5, migration 2, debt_repayment -1',
    'as by any other credits, visibly'
);
select is((select month_granted from billing.user_migrations where user_id = d()), 105::numeric, 'what was granted counts');
select is_empty('select * from billing.verify_migration(array[c(), d()])', 'none of that is a difference');

select billing.open_account(e()) \g /dev/null
select customer(e(), 'cus_e') \g /dev/null
select billing.record_stripe_object(stripe_subscription('sub_e', 'cus_e', 'tier_2_20')) \g /dev/null
select old_user(e(), 'price_tier_6_50_monthly', 'active', 'cus_e_old') \g /dev/null
select is(
    moves(e()), 'refused several_customers tier_6_50 30 0', 'a user who is another customer here must choose'
);
update legacy_billing.customers set stripe_customer_id = 'cus_e' where user_id = e();
select is(moves(e()), 'migrated tier_6_50 30 0 55', 'a customer with subscriptions in both systems');
select is(account(e()), 'tier_6_50 active 55 0', 'has the higher tier of the two');
select billing.open_account(u(84)) \g /dev/null
set local tap.now = '2025-03-10 14:00+00';
select old_user(u(84)) \g /dev/null
select billing.open_account(u(85)), billing.request_customer(u(85)) \g /dev/null
select old_user(u(85), null, null, 'cus_85') \g /dev/null
select moves(u(85)) \g /dev/null
select is(
    (select stripe_customer_id from billing.billing_customers where user_id = u(85)), 'cus_85',
    'a customer who was about to be made is the one that there is'
);
select is(moves(u(84)), 'migrated free 0 0 5', 'to whom nothing is to be granted');
select rows_are(
    'select entry_count, updated_at, last_grant_at from billing.credit_accounts where user_id = u(84)',
    $$values (1, '2025-03-10 14:00+00'::timestamptz, '2025-03-10 13:00+00'::timestamptz)$$, 'was moved all the same'
);
select billing.open_account(u(80)), billing.open_account(u(81)), billing.open_account(u(82)) \g /dev/null
select billing.set_account_status(admin(), u(80), 'closed', 'r'),
    billing.set_account_status(admin(), u(81), 'frozen', 'r')
\g /dev/null
set local tap.now = '2025-05-10 12:00+00';
select old_user(u(80)), old_user(u(81), 'price_tier_2_20_monthly'), old_user(u(82), 'price_tier_2_20_monthly')
\g /dev/null
select is(moves(u(80)), 'refused account_closed free 5 0', 'a closed account takes in nothing');
select is(moves(u(81)), 'migrated tier_2_20 25 0 25', 'a frozen one does');
select is(account(u(81)), 'tier_2_20 frozen 25 0', 'and stays frozen');
select is(moves(u(82)), 'migrated tier_2_20 20 0 25', 'what an account has missed is caught up before');
select is(
    (
        select string_agg(trim_scale(amount) || ' ' || reference_id, ', ' order by entry_no) from billing.credit_ledger
        where user_id = u(82) and amount > 0
    ),
    '5 2025-03, 5 2025-05, 20 2025-05', 'at the tier that it had'
);
set local tap.now = '2025-03-10 12:00+00';
select old_usage(u(83), 3) \g /dev/null
select billing.open_account(u(83)) \g /dev/null
select old_user(u(83), 'price_tier_2_20_monthly', 'past_due') \g /dev/null
select is(moves(u(83)), 'migrated tier_2_20 0 0 5', 'one whose payment is overdue there keeps what it has');
select billing.record_stripe_object(stripe_subscription('sub_83', 'cus_83', 'tier_2_20')) \g /dev/null
select is(account(u(83)), 'tier_2_20 active 22 0', 'and gets the difference once it is paid');

-- Rows that nobody expects stop nobody else.

select old_purchase(u(90), 'odd', 10, '2025-01-01 00:00+00') \g /dev/null
select buys(u(90), 10, 'pi_odd') \g /dev/null
select old_user(u(90)), old_user(u(91), null, null, ''), old_user(u(92), null, null, ' cus 92'),
    old_user(u(93)), old_purchase(u(93), 'never', 1, '-infinity'), old_user(u(94)),
    old_purchase(u(94), E'long ago\t', 1, '0044-03-15 00:00+00 BC', 'completed', 9223372036854775807),
    old_user(u(95), 'price_tier_2_20_monthly'), old_user(u(96), 'price_tier_6_50_monthly', 'of next year'),
    old_user(u(97), null, null, '')
\g /dev/null
update legacy_billing.purchases set stripe_payment_intent_id = '' where user_id = u(94);
update legacy_billing.subscriptions
set current_period_start = '-infinity', current_period_end = 'infinity' where subscription_id = 'sub_95';
select rows_are(
    $$
    select right(user_id::text, 2), outcome, problem,
        detail from billing.migrate_users(array(select u(n) from generate_series(90, 97) n))
    $$,
    $$
    values
        ('90', 'refused', 'shared_payment', 'Payment pi_odd paid another purchase too.'),
        ('91', 'migrated', null, null),
        ('92', 'refused', 'invalid_customer', ' cus 92 is no customer at Stripe.'),
        ('93', 'refused', 'invalid_purchase', 'Purchase never has an amount, price, status, time, id or payment that is none.'),
        ('94', 'migrated', null, null), ('95', 'migrated', null, null), ('96', 'migrated', null, null),
        ('97', 'migrated', null, null)
    $$,
    'a payment that bought something here, ids and times that are none'
);
select is_empty(
    'select from billing.billing_customers where user_id in (u(91), u(97))', 'an empty id is no customer'
);

-- A tier's credits that change are the next month's.

update billing.billing_tiers set monthly_credits = 8 where name = 'free';
select old_user(u(98)), old_user(u(99)) \g /dev/null
select is(moves(u(98)), 'migrated free 5 0 5', 'what a tier grants is what it grants this month');
set local tap.now = '2025-04-10 12:00+00';
select is(moves(u(99)), 'migrated free 8 0 8', 'and then the next');

-- What Stripe told of an old payment before its user came.

select old_user(u(100)), old_credit(u(100), 10), old_purchase(u(100), 'open', 10, '2025-01-01 00:00+00'),
    old_user(u(101)), old_credit(u(101), 6), old_purchase(u(101), 'half', 10, '2025-01-01 00:00+00'),
    old_user(u(102)), old_credit(u(102), 4), old_purchase(u(102), 'lost', 10, '2025-01-01 00:00+00')
\g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_d', 'pi_open', 1000)),
    billing.record_stripe_object(stripe_refund('re_r', 'pi_half', 500)),
    billing.record_stripe_object(stripe_dispute('dp_l', 'pi_lost', 1000, 'lost'))
\g /dev/null
select is(moves(u(100)), 'migrated free 8 10 18', 'one whose payment is disputed is migrated');
select is(account(u(100)), 'free frozen 18 0', 'and frozen');
select billing.record_stripe_object(stripe_dispute('dp_d', 'pi_open', 1000, 'won')) \g /dev/null
select is(account(u(100)), 'free active 18 0', 'until it is won');
select is(moves(u(101)), 'migrated free 8 6 9', 'a refund of half a payment takes half of what it bought');
select is(
    (select status || ' ' || amount_cents from billing.list_refunds(u(101))), 'succeeded 500', 'and is the user''s'
);
select is(moves(u(102)), 'migrated free 8 4 8', 'a lost dispute takes what is left of what the payment bought');
select is(account(u(102)), 'free active 8 6', 'and what was spent is owed');
select is_empty(
    'select * from billing.verify_migration(array[u(100), u(101), u(102)])', 'the migration is what it was'
);

-- Rows that only a view of somebody's own could tell.

create function odd(p_number integer) returns uuid immutable language sql as
    $$select ('00000000-0000-0000-0002-0000000000f' || p_number)::uuid$$;

select old_user(odd(1), 'price_tier_2_20_monthly'), old_user(odd(2)), old_user(odd(3), 'price_tier_2_20_monthly'),
    billing.open_account(odd(4)), old_user(odd(5))
\g /dev/null
insert into billing.billing_customers (user_id, stripe_customer_id, created_at) values (odd(4), 'cus_new', tap_now());
select old_user(odd(4), 'price_tier_6_50_monthly') \g /dev/null
create or replace view legacy_billing.legacy_customers as
select
    c.user_id, c.stripe_customer_id,
    case c.user_id when odd(3) then 'sub_f1' else s.subscription_id end as stripe_subscription_id,
    s.status as subscription_status, case c.user_id when odd(1) then null else s.price_id end as price_id,
    case c.user_id when odd(1) then null else p.tier end as tier, s.current_period_start, s.current_period_end,
    null::numeric as monthly_limit, 0::numeric as bought_credit, c.created_at
from legacy_billing.customers c
left join legacy_billing.subscriptions s on s.customer_id = c.customer_id
left join legacy_billing.plans p on p.price_id = s.price_id
where c.user_id in (odd(1), odd(2), odd(3), odd(4), odd(5)) or c.user_id = u(1);
insert into billing.billing_subscriptions (
    stripe_subscription_id, user_id, tier, billing_interval, status, current_period_start, current_period_end,
    stripe_price_id, synced_at, created_at, updated_at
)
values ('sub_f1', u(1), 'tier_2_20', 'month', 'active', tap_now(), tap_now(), 'price', tap_now(), tap_now(), tap_now());
create or replace view legacy_billing.legacy_purchases as
select purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
from legacy_billing.purchases
union all
select 'twice', odd(2), 1, 100, 'completed', null, '2025-01-01', null from generate_series(1, 2);
select rows_are(
    $$
    select right(user_id::text, 3), outcome, problem
    from billing.migrate_users(array[odd(1), odd(2), odd(3), odd(4), odd(5)])
    $$,
    $$
    values ('0f1', 'refused', 'unknown_price'), ('0f2', 'refused', 'invalid_purchase'),
        ('0f3', 'refused', 'shared_subscription'), ('0f4', 'refused', 'several_customers'), ('0f5', 'migrated', null)
    $$,
    'a price that is missing, a purchase told twice, a subscription of another, a second customer'
);
update billing.credit_accounts set tier = 'tier_2_20' where tier = 'free';
update billing.billing_tiers set name = 'gratis' where name = 'free';
select old_user(odd(6)) \g /dev/null
create or replace view legacy_billing.legacy_customers as
select
    c.user_id, c.stripe_customer_id, null::text as stripe_subscription_id, null::text as subscription_status,
    null::text as price_id, null::text as tier, null::timestamptz as current_period_start,
    null::timestamptz as current_period_end, null::numeric as monthly_limit, 0::numeric as bought_credit, c.created_at
from legacy_billing.customers c
where c.user_id = odd(6);
select is(moves(odd(6)), 'refused unknown_tier free 0 0', 'who pays for nothing needs a tier free');

select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
