-- A user goes back to the old system with what is left, to the last decimal: of the month as the rest of its limit,
-- everything else as bought credit. What was done here becomes known there; the account keeps its history, closed.
\ir ../legacy.psql

create function u(p_number integer) returns uuid immutable language sql as
    $$select ('00000000-0000-0000-0001-' || lpad(p_number::text, 12, '0'))::uuid$$;
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
update billing.billing_tiers set can_purchase_credits = true;

-- One user with everything.

select old_user(a(), 'price_tier_2_20_monthly') \g /dev/null
select old_usage(a(), 5), old_purchase(a(), 'p1', 10, '2025-01-01 00:00+00'),
    old_purchase(a(), 'p2', 10, '2025-01-02 00:00+00'),
    old_credit(a(), 10) \g /dev/null
select is(moves(a()), 'migrated tier_2_20 20 10 30', 'a user who has moved');
set local tap.now = '2025-03-11 12:00+00';
select entry_no as call, trim_scale(cost) as cost
from billing.deduct_tokens(a(), 'gpt-4o', 1000, 100, 50, p_idempotency_key => 'call-1') \gset
select billing.deduct_credits(
    a(), 2, p_idempotency_key => 'call-1', p_metadata => '{"model": 7, "prompt_tokens": "many"}'
) \g /dev/null
select entry_no as wrong from billing.deduct_credits(a(), 1) \gset
select billing.deduct_credits(a(), 1000) \g /dev/null
select billing.reverse_entry(admin(), a(), :wrong, 'r') \g /dev/null
select billing.grant_credits(a(), 3, 'promotion', p_expires_at => '2025-03-20 12:00+00'),
    billing.grant_credits(a(), 4, 'promotion', p_expires_at => '2025-03-12 12:00+00') \g /dev/null
select billing.adjust_credits(admin(), a(), 2.000000001, 'r') \g /dev/null
select buys(a(), 20, 'pi_new') \g /dev/null
select hold_id as hold from billing.hold_credits(a(), 1, '7 days') \gset
select billing.request_refund(chief(), a(), 4, 'r', true, 'pi_p2') \g /dev/null
set local tap.now = '2025-03-13 12:00+00';
select is(
    returns(a()), format('rolled_back %s 31.000000001 1 2 0', 18 - :cost),
    'goes back with the rest of the month, and everything else as credit, but for what has expired'
);
select is(
    old_state(a()), format('tier_2_20 25 %s %s 31.000000001 there', 7 + :cost, 18 - :cost),
    'the old system has exactly that'
);
select rows_are(
    $$
    select model, prompt_tokens, completion_tokens, cached_tokens, cost, paid_from_credit, request_key, created_at
    from legacy_billing.usage_records where user_id = a() and created_at > '2025-03-11' order by record_id
    $$,
    format(
        $$
        values
            ('gpt-4o', 1000, 100, 50, %s, 0, 'call-1', '2025-03-11 12:00+00'::timestamptz),
            ('7', 0, 0, 0, 2, 0, 'ledger/4', '2025-03-11 12:00+00')
        $$,
        :cost
    ),
    'calls become known, those of tokens by their key, but for one that was reversed, and one that was refused'
);
select rows_are(
    $$
    select
        purchase_id = (
            select purchase_id::text from billing.credit_purchases where stripe_payment_intent_id = 'pi_new'
        ),
        amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
    from legacy_billing.purchases where user_id = a() and purchase_id not in ('p1', 'p2')
    $$,
    $$
    values (
        true, 20, 2000, 'completed', 'pi_new', '2025-03-11 12:00+00'::timestamptz, '2025-03-11 12:00+00'::timestamptz
    )
    $$,
    'a purchase becomes known'
);
select is(
    (select count(*) from legacy_billing.customers where user_id = a())
    + (select count(*) from legacy_billing.subscriptions where subscription_id = 'sub_0a'), 2::bigint,
    'the customer and the subscription are those that were there'
);
select is(account(a()), 'tier_2_20 closed 0 0', 'the account is closed and empty');
select is((select next_expiry_at from billing.credit_accounts where user_id = a()), null, 'nothing of it will expire');
select rows_are(
    $$
    select type, amount, grant_no, operation, metadata, description from billing.credit_ledger
    where user_id = a() and type = 'rollback' order by entry_no
    $$,
    format(
        $$
        values
            ('rollback', -%s, 1, 'rollback_users', '{"becomes": "allowance"}'::jsonb, 'Handed to the old system'),
            ('rollback', -1, 3, 'rollback_users', '{"becomes": "allowance"}', 'Handed to the old system'),
            ('rollback', -3, 4, 'rollback_users', '{"becomes": "bought_credit"}', 'Handed to the old system'),
            ('rollback', -2.000000001, 6, 'rollback_users', '{"becomes": "bought_credit"}', 'Handed to the old system'),
            ('rollback', -6, 2, 'rollback_users', '{"becomes": "bought_credit"}', 'Handed to the old system'),
            ('rollback', -20, 7, 'rollback_users', '{"becomes": "bought_credit"}', 'Handed to the old system')
        $$,
        17 - :cost
    ),
    'each lot that was left has its entry'
);
select rows_are(
    'select status, ended_at from billing.credit_holds where user_id = a()',
    $$values ('released', '2025-03-13 12:00+00'::timestamptz)$$, 'a hold is released'
);
select rows_are(
    'select status, round, returned, rolled_back_at, migrated_at from billing.user_migrations where user_id = a()',
    format(
        $$values ('rolled_back', 1, %s, '2025-03-13 12:00+00'::timestamptz, '2025-03-10 12:00+00'::timestamptz)$$,
        49.000000001 - :cost
    ),
    'the record says so'
);

-- Its history can be read.

select is_empty('select * from billing.verify_account(a())', 'the account verifies');
select is(
    (select count(*) from billing.list_entries(a(), p_limit => 500)),
    (select entry_count from billing.credit_accounts where user_id = a()), 'its entries are listed'
);
select is(
    (select concat_ws(' ', status, trim_scale(balance)) from billing.account_summary(a())), 'closed 0',
    'its summary tells how it stands'
);
select is(billing.balance_at(a(), '2025-03-10 12:00+00'), 30::numeric, 'and how it stood');
select rows_are(
    format('select grant_no, amount from billing.entry_funding(a(), %s)', :call), format('values (1, %s)', :cost),
    'what paid for a call'
);
select is((select count(*) from billing.list_purchases(a())), 3::bigint, 'its purchases are listed');

-- Nothing else is done with it.

select throws_ok('select ' || call, 'UC409', 'not_migrated', 'not_migrated: ' || left(call, 60))
from unnest(array[
    'billing.open_account(a())', 'billing.get_account(a())', 'billing.check_credits(a())',
    'billing.check_credits(a(), 1000)', 'billing.grant_credits(a(), 1, ''promotion'')',
    'billing.deduct_credits(a(), 1)',
    'billing.deduct_credits(a(), 1, p_idempotency_key => ''k'')', 'billing.deduct_tokens(a(), ''gpt-4o'', 1, 1)',
    'billing.hold_credits(a(), 1)', format('billing.capture_hold(a(), %L, 1)', :'hold'),
    format('billing.release_hold(a(), %L)', :'hold'), 'billing.adjust_credits(admin(), a(), 1, ''r'')',
    'billing.admin_grant_credits(admin(), a(), 1, ''r'')', 'billing.change_tier(admin(), a(), ''free'', ''r'')',
    'billing.set_account_status(admin(), a(), ''active'', ''r'')',
    format('billing.reverse_entry(admin(), a(), %s, ''r'')', :call), 'billing.record_purchase(a(), 10)',
    'billing.request_refund(chief(), a(), 1, ''r'')',
    'billing.request_refund(chief(), a(), 1, ''r'', true, ''pi_new'')',
    'billing.request_checkout(a(), ''tier_6_50'')', 'billing.request_subscription_change(a(), ''cancel'')',
    'billing.set_auto_top_up(a(), true, 1, ''10'', 10)', 'billing.request_top_up(a())'
]) call;
select is(
    (billing.deduct_tokens(a(), 'gpt-4o', 1000, 100, 50, p_idempotency_key => 'call-1')).replayed, true,
    'a call that was paid here is told again'
);
select rows_are(
    $$
    select success, reason from billing.deduct_credits_batch(jsonb_build_array(
        jsonb_build_object('user_id', a(), 'amount', 1),
        jsonb_build_object('user_id', a(), 'model', 'gpt-4o', 'prompt_tokens', 1, 'completion_tokens', 1),
        jsonb_build_object('user_id', chief(), 'amount', 1)
    ))
    $$,
    $$values (false, 'not_migrated'), (false, 'not_migrated'), (false, 'account_not_found')$$,
    'in a batch it is the reason of the item'
);
select is(account(a()), 'tier_2_20 closed 0 0', 'nothing has moved');
select is(
    (select count(*) from billing.credit_ledger where user_id = a() and amount = 0), 1::bigint, 'nor left a trace'
);
select is(returns(a()), 'already_rolled_back', 'R31: a rollback is done once');
select is(
    (select rolled_back_at from billing.user_migrations where user_id = a()), '2025-03-13 12:00+00'::timestamptz,
    'nor recorded again'
);

-- Its calls count there.

select is(
    (select replayed from billing.legacy_track(a(), 'gpt-4o', 1000, 100, 50, 'call-1')), true,
    'a call that was paid here is known there by its key'
);
select is(
    (billing.legacy_track(a(), 'gpt-4o', 1000, 100, 50, 'call-2')).monthly_usage, 7 + 2 * :cost, 'the next one counts'
);

-- And back again.

set local tap.now = '2025-03-14 12:00+00';
select is(
    moves(a()),
    format(
        'migrated tier_2_20 %s 31.000000001 %s', trim_scale(18 - 2 * :cost), trim_scale(49.000000001 - 2 * :cost)
    ),
    'a user who returns within the month has what was left'
);
select is(
    account(a()), format('tier_2_20 active %s 0', trim_scale(49.000000001 - 2 * :cost)),
    'on the same account, which is open again'
);
select is(
    lots(a()),
    format(
        'tier_grant %s 2025-04-01 00:00:00, purchase 5.000000001, purchase 6, purchase 20', trim_scale(18 - 2 * :cost)
    ),
    'bought credit is what was bought last, less what was refunded of it'
);
select rows_are(
    'select status, round, month_granted, first_entry_no > 1 from billing.user_migrations where user_id = a()',
    $$values ('migrated', 2, 25, true)$$, 'it is the second round'
);
select is(
    (
        select string_agg(legacy_purchase_id || ' ' || kind, ', ' order by created_at)
        from billing.credit_purchases where user_id = a() and kind = 'migration'
    ),
    'p1 migration, p2 migration', 'purchases are not there twice'
);
select is(
    (select count(*) from billing.credit_purchases where user_id = a()), 3::bigint, 'those of the account neither'
);
select is(
    (
        select source || ' ' || trim_scale(remaining) from billing.credit_grants g
        join billing.billing_payments p using (user_id, grant_no) where payment_intent_id = 'pi_new'
    ),
    'purchase 20', 'the payment that was made here has the lot that came back'
);
select is_empty('select * from billing.verify_account(a())', 'it verifies');
select is_empty('select * from billing.verify_migration(array[a()])', 'and has no difference');
select is(
    (billing.deduct_tokens(a(), 'gpt-4o', 1000, 100, 50, p_idempotency_key => 'call-3')).success, true,
    'it is spent from'
);
select is(
    returns(a()), format('rolled_back %s 31.000000001 0 1 0', 18 - 3 * :cost), 'and returned, with what was used since'
);
select is(
    old_state(a()), format('tier_2_20 25 %s %s 31.000000001 there', 7 + 3 * :cost, 18 - 3 * :cost), 'once more exactly'
);
set local tap.now = '2025-04-14 12:00+00';
update legacy_billing.subscriptions set status = 'canceled' where subscription_id = 'sub_0a';
select is(moves(a()), 'migrated free 5 31.000000001 36.000000001', 'in the next month it is the next month''s credits');
select is(account(a()), 'free active 36.000000001 0', 'that is all, at the tier that is paid for by then');
select rows_are(
    $$
    select month_granted, granted_through
    from billing.user_migrations join billing.credit_accounts using (user_id) where user_id = a()
    $$,
    $$values (5, '2025-04-01'::date)$$, 'which is the last month that was granted'
);
select is(
    (select status from billing.billing_subscriptions where stripe_subscription_id = 'sub_0a'), 'canceled',
    'of a subscription the old system knew last'
);
select is_empty('select * from billing.verify_account(a())', 'it verifies');

-- Where calls do not lead to what is left, one record does.

set local tap.now = '2025-03-10 12:00+00';
create function balancing(p_user_id uuid) returns text language sql as $$
    select string_agg(concat_ws(' ', trim_scale(cost), split_part(request_key, '/', 1)), ', ')
    from legacy_billing.usage_records where user_id = p_user_id and model = 'rollback'
$$;
select old_user(u(1)), old_user(u(2), 'price_tier_6_50_monthly'), old_user(u(3), 'price_tier_12_100_monthly'),
    old_user(u(4), 'price_tier_2_20_monthly'), old_usage(u(4), 40), old_user(u(5), 'price_tier_2_20_monthly'),
    old_usage(u(5), 7)
\g /dev/null
update legacy_billing.plans set monthly_limit = 120 where price_id = 'price_tier_12_100_monthly';
select billing.migrate_users(array(select u(n) from generate_series(1, 5) n)) \g /dev/null
select billing.deduct_credits(u(n), 1) from unnest(array[1, 2, 3, 5]) n \g /dev/null
select billing.change_tier(admin(), u(1), 'tier_2_20', 'r'), billing.adjust_credits(admin(), u(2), -3, 'r'),
    billing.change_tier(admin(), u(5), 'free', 'r') \g /dev/null
select billing.rollback_users(array(select u(n) from generate_series(1, 5) n)) \g /dev/null
select rows_are(
    'select n, old_state(u(n)), balancing(u(n)) from generate_series(1, 5) n',
    $$
    values
        (1, 'free 5 -19 24 0 there', '-20 rollback'), (2, 'tier_6_50 55 4 51 0 there', '3 rollback'),
        (3, 'tier_12_100 120 16 104 0 there', '15 rollback'), (4, 'tier_2_20 25 40 0 0 there', null),
        (5, 'tier_2_20 25 8 17 0 there', null)
    $$,
    'after an upgrade, after an adjustment, where the limit is not what the tier grants; not where they do'
);
select is(moves(u(1)), 'migrated free 24 0 24', 'back again, what was left is left');
select is(moves(u(2)), 'migrated tier_6_50 51 0 51', 'so it is of this one');
select is(moves(u(3)), 'migrated tier_12_100 104 0 104', 'and of one whose limit there is another');
select billing.adjust_credits(admin(), u(3), -1, 'r') \g /dev/null
select is(returns(u(3)), 'rolled_back 103 0 0 0 0', 'and once more');
select is(balancing(u(3)), '15 rollback, 1 rollback', 'R07: with another record of the same moment');
select is(old_state(u(3)), 'tier_12_100 120 17 103 0 there', 'exactly');
set local tap.now = '2025-05-10 12:00+00';
select is(moves(u(3)), 'migrated tier_12_100 105 0 105', 'in another month it is what the tier grants here');
set local tap.now = '2025-03-10 12:00+00';
select is(
    (select month_granted from billing.user_migrations where user_id = u(1)), 25::numeric, 'and all that was given counts'
);
select is(
    (billing.change_tier(admin(), u(1), 'tier_2_20', 'r')).amount, 0::numeric,
    'R11: so the upgrade grants nothing again'
);
select is(
    (billing.change_tier(admin(), u(1), 'tier_6_50', 'r')).amount, 30::numeric, 'R11: but a higher one its difference'
);
select is_empty('select * from billing.verify_migration(array[u(1)])', 'none of it is a difference');

-- Paid within the month in each of two rounds.

select old_user(u(6), 'price_tier_2_20_monthly', 'past_due') \g /dev/null
select moves(u(6)) \g /dev/null
select billing.record_stripe_object(stripe_subscription('sub_06', 'cus_06', 'tier_2_20')) \g /dev/null
select is(account(u(6)), 'tier_2_20 active 25 0', 'the month was paid');
select is(returns(u(6)), 'rolled_back 25 0 0 0 1', 'the user goes back with it');
select is(old_state(u(6)), 'tier_2_20 25 0 25 0 there', 'as one who has paid');
update legacy_billing.subscriptions set status = 'past_due' where subscription_id = 'sub_06';
set local tap.now = '2025-03-11 12:00+00';
select is(moves(u(6)), 'migrated tier_2_20 0 0 0', 'comes again, and has not');
set local tap.now = '2025-03-12 12:00+00';
select billing.record_stripe_object(stripe_subscription('sub_06', 'cus_06', 'tier_2_20')) \g /dev/null
select is(
    account(u(6)), 'tier_2_20 active 25 0', 'R07: and pays: the month''s key of the round before is not in the way'
);

-- Whose credits wait has the same month there as before.

set local tap.now = '2025-03-10 12:00+00';
select old_user(u(8), 'price_tier_2_20_monthly', 'past_due'), old_usage(u(8), 1), old_credit(u(8), 3) \g /dev/null
select is(moves(u(8)), 'migrated tier_2_20 0 3 3', 'a user who has not paid');
select is(returns(u(8)), 'rolled_back 0 3 0 0 0', 'goes back without credits of the month');
select is(old_state(u(8)), 'free 5 1 4 3 there', 'and is where they were');
select moves(u(8)) \g /dev/null
select billing.deduct_credits(u(8), 2) \g /dev/null
select is(returns(u(8)), 'rolled_back 0 1 0 1 0', 'and again, with a call that bought credit paid for');
select is(old_state(u(8)), 'free 5 1 4 1 there', 'it is not paid for twice');

-- However often within a month.

select old_user(u(9), 'price_tier_2_20_monthly') \g /dev/null
select moves(u(9)) \g /dev/null
select returns(u(9)) \g /dev/null
select moves(u(9)) \g /dev/null
select returns(u(9)) \g /dev/null
select is(moves(u(9)), 'migrated tier_2_20 25 0 25', 'a third time');
select is(
    (select month_granted from billing.user_migrations where user_id = u(9)), 25::numeric, 'the month''s credits count once'
);
select is(
    (billing.change_tier(admin(), u(9), 'tier_6_50', 'r')).amount, 30::numeric, 'R11: an upgrade grants the difference'
);
update legacy_billing.plans set tier = 'tier_6_50', monthly_limit = 55 where price_id = 'price_tier_2_20_yearly';
select old_user(u(15), 'price_tier_2_20_monthly') \g /dev/null
select moves(u(15)), returns(u(15)) \g /dev/null
update legacy_billing.subscriptions set price_id = 'price_tier_2_20_yearly' where subscription_id = 'sub_15';
select is(moves(u(15)), 'migrated tier_6_50 55 0 55', 'one who was upgraded there meanwhile');
select is(
    (select month_granted from billing.user_migrations where user_id = u(15)), 55::numeric, 'was given the credits of that'
);

-- What the old system has heard of a payment is not what it has counted.
select old_user(u(70 + n)) from generate_series(1, 4) n \g /dev/null
select moves(u(70 + n)) from generate_series(1, 4) n \g /dev/null
create function paid_away(p_user_id uuid, p_heard text) returns text language plpgsql as $$
declare
    v_number   text := right(p_user_id::text, 2);
    v_purchase uuid := (select purchase_id from billing.record_purchase(p_user_id, 30));
begin
    perform returns(p_user_id);
    perform old_purchase(p_user_id, 'heard_' || v_number, 30, billing_private.clock(), p_heard);
    perform billing.record_stripe_object(stripe_intent('pi_heard_' || v_number, 3000, v_purchase));
    return concat_ws(
        ' ', billing_private.old_credit(p_user_id), '|',
        (
            select string_agg(purchase_id || ' ' || status, ', ') from legacy_billing.purchases
            where user_id = p_user_id
        ), '|',
        moves(p_user_id)
    );
end
$$;
select is(
    paid_away(u(70 + n), heard), format('%s | heard_7%s %s | migrated free 5 %s %s', credit, n, becomes, credit, 5 + credit),
    format('what was %s there when it is paid is one purchase, counted once', heard)
)
from (
    values
        (1, 'pending', 30, 'completed'), (2, 'failed', 30, 'completed'), (3, 'completed', 0, 'completed'),
        (4, 'refunded', 0, 'refunded')
) v (n, heard, credit, becomes);

-- A purchase that is spent here keeps its lot; a top-up that waits is called off.

select old_user(u(13), null, null, 'cus_13'), old_credit(u(13), 10),
    old_purchase(u(13), 'spent', 10, '2025-01-01 00:00+00') \g /dev/null
select moves(u(13)) \g /dev/null
select billing.set_auto_top_up(u(13), true, 1, '10', 10, 'pm_1') \g /dev/null
select billing.deduct_credits(u(13), 15) \g /dev/null
select billing.request_top_up(u(13)) \g /dev/null
select is(returns(u(13)), 'rolled_back 0 0 0 1 0', 'all of it was spent');
select rows_are(
    $$
    select p.status, c.status, p.error from billing.credit_purchases p
    join billing.stripe_calls c on c.subject_id = p.purchase_id::text where p.user_id = u(13) and p.kind = 'auto_top_up'
    $$,
    $$values ('failed', 'failed', 'moved back to the old system')$$, 'nobody is charged for an account that is closed'
);
select is(moves(u(13)), 'migrated free 0 0 0', 'nothing comes again');
select is(
    (select grant_no from billing.billing_payments where payment_intent_id = 'pi_spent'), 2::bigint,
    'its payment still says which lot it bought'
);

-- What was not granted yet is granted before it is handed over.

select old_user(u(14), 'price_tier_2_20_monthly'), old_credit(u(14), 10) \g /dev/null
select moves(u(14)) \g /dev/null
set local tap.now = '2025-04-10 12:00+00';
select billing.deduct_credits(u(14), 3) \g /dev/null
select is(returns(u(14)), 'rolled_back 25 7 0 1 0', 'a user whom the month''s grants had not come to');
select is(
    (select concat_ws(' ', trim_scale(remaining), trim_scale(bought_credit)) from billing.legacy_check(u(14))), '25 7',
    'does not pay twice'
);
set local tap.now = '2025-03-10 12:00+00';

-- Tier credits that outlast the month are bought credit there.

insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, rank)
values ('lasting', 'Lasting', 7, 0, 102);
select billing.open_account(u(7), 'lasting') \g /dev/null
select is(returns(u(7)), 'rolled_back 0 7 0 0 0', 'credits of a tier that do not end with the month');
select is(old_state(u(7)), 'free 5 5 0 7 there', 'are bought credit there');

-- Born here.

select buys(b(), 10, 'pi_b') \g /dev/null
select billing.deduct_credits(b(), 4) \g /dev/null
select customer(b(), 'cus_b') \g /dev/null
select is((billing.get_migration(b())).status, 'new', 'a user whom the old system does not know');
select is(returns(b()), 'rolled_back 0 6 1 1 0', 'goes there too');
select is(old_state(b()), 'free 5 5 0 6 there', 'and becomes known');
select rows_are(
    'select stripe_customer_id from legacy_billing.customers where user_id = b()', $$values ('cus_b')$$,
    'by their customer'
);
select is((billing.get_migration(b())).status, 'rolled_back', 'the record says so');
select is(moves(b()), 'migrated free 0 6 6', 'and can be migrated');
select is((select round from billing.user_migrations where user_id = b()), 1, 'for the first time');
select is(lots(b()), 'purchase 6', 'with the purchase that was made here');
select rows_are(
    $$
    select kind, status, legacy_purchase_id = purchase_id::text, spent_before
    from billing.credit_purchases where user_id = b()
    $$,
    $$values ('checkout', 'paid', true, 0)$$, 'whose row is the one that it had'
);
select is_empty('select * from billing.verify_migration(array[b()])', 'without a difference');

-- Debt stays.

select old_user(c(), null, null, 'cus_0c'), old_credit(c(), 0), old_purchase(c(), 'c1', 10, '2025-01-01 00:00+00')
\g /dev/null
select moves(c()) \g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_c', 'pi_c1', 1000, 'lost')) \g /dev/null
select is(account(c()), 'free active 5 10', 'a user who owes something');
select is(returns(c()), 'rolled_back 5 0 0 0 0', 'goes back with all that is left');
select is(account(c()), 'free closed 0 10', 'and still owes it here');
select is(moves(c()), 'migrated free 5 0 0', 'when they return');
select is(account(c()), 'free active 0 5', 'it is repaid');

-- Who is not moved.

select billing.open_account(u(10)), billing.open_account(u(11)) \g /dev/null
select billing.set_account_status(admin(), u(10), 'frozen', 'r'),
    billing.set_account_status(admin(), u(11), 'closed', 'r')
\g /dev/null
select old_user(u(12)) \g /dev/null
select rows_are(
    $$
    select right(user_id::text, 2), outcome, problem, monthly_left
    from billing.rollback_users(array[u(12), u(10), u(11), nobody()])
    $$,
    $$
    values ('ff', 'refused', 'account_not_found', null::numeric), ('10', 'refused', 'account_frozen', null),
        ('11', 'refused', 'account_closed', null), ('12', 'refused', 'not_migrated', null)
    $$,
    'a frozen or closed account stays, and one who has none has nothing to move'
);
select is(account(u(10)), 'free frozen 5 0', 'as it was');
select throws_ok(
    'select billing.rollback_users(' || p_ids || ')', 'UC400', 'invalid_request', 'not for ' || left(p_ids, 40)
)
from unnest(array[
    'null', 'array[]::uuid[]', 'array[null]::uuid[]', 'array(select gen_random_uuid() from generate_series(1, 1001))'
]) p_ids;

-- What Stripe tells afterwards is taken in here, and goes where the user is.

create function away(p_user_id uuid) returns text language sql as $$
    select concat_ws(
        ' ', account(p_user_id), '|', old_state(p_user_id), '|',
        (select count(*) from billing.verify_account(p_user_id))
    )
$$;
select old_user(d(), 'price_tier_2_20_monthly'), old_usage(d(), 3), old_credit(d(), 10),
    old_purchase(d(), 'd1', 10, '2025-01-01 00:00+00'), old_purchase(d(), 'd2', 5, '2025-01-02 00:00+00', 'pending')
\g /dev/null
select moves(d()) \g /dev/null
select purchase_id as purchase, call_id as call from billing.record_purchase(d(), 30) \gset
select billing.finish_stripe_call(:'call', stripe_session('cs_d', :'purchase', 3000, p_status => 'open')) \g /dev/null
select purchase_id as late, call_id as late_call from billing.record_purchase(d(), 40) \gset
select refund_id as refund from billing.request_refund(chief(), d(), 6, 'r', true, 'pi_d1') \gset
select is(returns(d()), 'rolled_back 22 4 0 0 0', 'a user goes back while a checkout is open and a refund on its way');
select is(away(d()), 'tier_2_20 closed 0 0 | tier_2_20 25 3 22 4 there | 0', 'with what was there');
select billing.record_stripe_object(stripe_intent('pi_d', 3000, :'purchase')) \g /dev/null
select is(
    away(d()), 'tier_2_20 closed 0 0 | tier_2_20 25 3 22 34 there | 0', 'the checkout is paid: the credits go there'
);
select billing.record_stripe_object(stripe_intent('pi_d', 3000, :'purchase')) \g /dev/null
select billing.record_stripe_object(stripe_session('cs_d', :'purchase', 3000, 'pi_d')) \g /dev/null
select is(away(d()), 'tier_2_20 closed 0 0 | tier_2_20 25 3 22 34 there | 0', 'R14: once');
select rows_are(
    $$select amount, status from legacy_billing.purchases where stripe_payment_intent_id = 'pi_d'$$,
    $$values (30, 'completed')$$, 'as a purchase'
);
select billing.finish_stripe_call(:'late_call', stripe_session('cs_late', :'late', 4000, p_status => 'open'))
\g /dev/null
select is(
    (billing.complete_purchase(:'late', stripe_intent('pi_late', 4000, :'late'))).status, 'paid',
    'so does one whose call to Stripe was still to be made'
);
select is(away(d()), 'tier_2_20 closed 0 0 | tier_2_20 25 3 22 74 there | 0', 'and was paid');
select is(
    (billing.finish_refund(:'refund', stripe_refund('re_d', 'pi_d1', 600, :'refund', 'failed'))).status, 'failed',
    'the refund fails'
);
select is(away(d()), 'tier_2_20 closed 0 0 | tier_2_20 25 3 22 80 there | 0', 'R15: what it had taken goes there');
select billing.record_stripe_object(stripe_refund('re_d', 'pi_d1', 600, :'refund', 'failed')) \g /dev/null
select is(away(d()), 'tier_2_20 closed 0 0 | tier_2_20 25 3 22 80 there | 0', 'once');
select is(
    (billing.legacy_record_purchase(d(), 5, 500, 'pi_d2')).status, 'completed',
    'a purchase that was open all the while is paid'
);
select is(away(d()), 'tier_2_20 closed 0 0 | tier_2_20 25 3 22 85 there | 0', 'in the old system');
select billing.record_stripe_object(stripe_subscription('sub_0d', 'cus_0d', 'tier_6_50')) \g /dev/null
select is(away(d()), 'tier_6_50 closed 0 0 | tier_6_50 55 3 52 85 there | 0', 'an upgrade at Stripe is one there');
select billing.record_stripe_object(stripe_subscription('sub_0d', 'cus_0d', 'tier_6_50', 'canceled')) \g /dev/null
select is(away(d()), 'free closed 0 0 | free 5 3 2 85 there | 0', 'and so is its end');
select billing.record_stripe_object(stripe_dispute('dp_d', 'pi_d', 3000)) \g /dev/null
select is(away(d()), 'free closed 0 0 | free 5 3 2 85 there | 0', 'a dispute freezes nothing: the account is closed');
select billing.record_stripe_event(
    stripe_event('evt_d', 'charge.dispute.closed', stripe_dispute('dp_d', 'pi_d', 3000, 'lost'))
) \g /dev/null
select billing.apply_stripe_event('evt_d') \g /dev/null
select is(away(d()), 'free closed 0 0 | free 5 3 2 55 there | 0', 'what a lost one asks back is taken there');
select is(moves(d()), 'migrated free 2 55 57', 'and stays so when the user returns');
select is(account(d()), 'free active 57 0', 'all of it');
select is_empty('select * from billing.verify_migration(array[d()])', 'without a difference');

select old_user(e(), null, null, 'cus_0e'), old_credit(e(), 10), old_purchase(e(), 'e1', 10, '2025-01-01 00:00+00')
\g /dev/null
select moves(e()), returns(e()) \g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_e', 'pi_e1', 1000)) \g /dev/null
select is(moves(e()), 'migrated free 5 10 15', 'one who returns while a dispute is open');
select is(account(e()), 'free frozen 15 0', 'is frozen');
select billing.record_stripe_object(stripe_dispute('dp_e', 'pi_e1', 1000, 'won')) \g /dev/null
select is(account(e()), 'free active 15 0', 'until it is won');

select old_user(u(20), null, null, 'cus_20'), old_credit(u(20), 10), old_purchase(u(20), 'f', 10, '2025-01-01 00:00+00')
\g /dev/null
select moves(u(20)) \g /dev/null
select billing.set_auto_top_up(u(20), true, 20, '10', 10, 'pm_1') \g /dev/null
select refund_id as refund,
    call_id as refund_call from billing.request_refund(chief(), u(20), 4, 'r', true, 'pi_f') \gset
select call_id as top_up_call from billing.request_top_up(u(20)) \gset
select checkout_id as checkout, call_id as checkout_call from billing.request_checkout(u(20), 'tier_2_20') \gset
select billing.claim_stripe_call(:'top_up_call') \g /dev/null
select is(returns(u(20)), 'rolled_back 5 6 0 0 0', 'a user goes back while calls to Stripe are on their way');
select is(
    (billing.record_stripe_object(
        stripe_session('cs_20', :'checkout', 2000, null, 'open', 'unpaid', 'cus_20', 'subscription')
    )), true, 'a checkout of a subscription opens'
);
select is((select status from billing.billing_checkouts where checkout_id = :'checkout'), 'open', 'which is recorded');
select lives_ok(format('select billing.fail_stripe_call(%L, ''no'')', :'top_up_call'), 'a charge that was tried fails');
select is(
    (select status from billing.credit_purchases where user_id = u(20) and kind = 'auto_top_up'), 'failed',
    'and is recorded'
);
select billing.fail_stripe_call(:'refund_call', 'no') \g /dev/null
select is(away(u(20)), 'free closed 0 0 | free 5 0 5 10 there | 0', 'R15: a refund that could not be made goes there');
select billing.record_stripe_object(
    stripe_subscription('sub_20', 'cus_20', 'tier_2_20') || '{"metadata": {}}'
) \g /dev/null
select is(away(u(20)), 'tier_2_20 closed 0 0 | tier_2_20 25 0 25 10 there | 0', 'the subscription of the checkout too');

-- What the old system has refunded is refunded here.

select old_user(u(30), null, null, 'cus_30'), old_credit(u(30), 10), old_purchase(u(30), 'back', 10, '2025-01-01 00:00+00')
\g /dev/null
select moves(u(30)), returns(u(30)) \g /dev/null
update legacy_billing.purchases set status = 'refunded', completed_at = null where purchase_id = 'back';
select old_credit(u(30), 0) \g /dev/null
select is(moves(u(30)), 'migrated free 5 0 5', 'a user comes back whose purchase was refunded there');
select is((select status from billing.list_purchases(u(30))), 'refunded', 'it is refunded here too');
select is(
    (select reason from billing.request_refund(chief(), u(30), 10, 'r', true, 'pi_back')), 'refund_exceeds_payment',
    'R15: the money does not go back twice'
);
select is_empty('select * from billing.verify_migration(array[u(30)])', 'both systems agree');

-- A refund takes from wherever the credits are, whichever purchase they are of.

select old_user(u(40), null, null, 'cus_40'), old_credit(u(40), 100), old_purchase(u(40), 'p40', 100, '2025-01-01 00:00+00')
\g /dev/null
select moves(u(40)), returns(u(40)) \g /dev/null
select billing.record_stripe_object(stripe_refund('re_40', 'pi_p40', 4000)) \g /dev/null
select is(away(u(40)), 'free closed 0 0 | free 5 0 5 60 there | 0', 'R15: a refund takes from the bought credit there');
select billing.record_stripe_object(stripe_refund('re_40', 'pi_p40', 4000)) \g /dev/null
select is(away(u(40)), 'free closed 0 0 | free 5 0 5 60 there | 0', 'once');
select billing.record_stripe_object(stripe_refund('re_41', 'pi_p40', 6000)) \g /dev/null
select is(away(u(40)), 'free closed 0 0 | free 5 0 5 0 there | 0', 'the rest of it too');
select is((select status from legacy_billing.purchases where purchase_id = 'p40'), 'refunded', 'which is told there');
select billing.record_stripe_object(stripe_refund('re_41', 'pi_p40', 6000, null, 'failed')) \g /dev/null
select is(away(u(40)), 'free closed 0 0 | free 5 0 5 60 there | 0', 'a refund that failed gives it back');

select old_user(u(42), null, null, 'cus_42'), old_credit(u(42), 20),
    old_purchase(u(42), 'p42', 10, '2025-03-01 00:00+00'), old_purchase(u(42), 'p43', 10, '2025-03-02 00:00+00')
\g /dev/null
select moves(u(42)) \g /dev/null
select billing.record_stripe_object(stripe_refund('re_43', 'pi_p43', 1000)) \g /dev/null
select returns(u(42)) \g /dev/null
select is(
    (select string_agg(status, ' ' order by purchase_id) from legacy_billing.purchases where user_id = u(42)),
    'completed refunded', 'what was refunded here is refunded there'
);
select is(moves(u(42)), 'migrated free 5 10 15', 'what is left');
select billing.record_stripe_object(stripe_refund('re_42', 'pi_p42', 1000)) \g /dev/null
select is(account(u(42)), 'free active 5 0', 'is of the other purchase');

-- A subscription that goes down with the period, one that changed its customer there, one of whom only a payment is told.

select old_user(u(44), 'price_tier_6_50_monthly') \g /dev/null
select moves(u(44)) \g /dev/null
update billing.billing_subscriptions
set next_tier = 'tier_2_20', stripe_price_id = 'price_lower', synced_at = tap_now() where user_id = u(44);
select returns(u(44)) \g /dev/null
select is(
    (select tier from legacy_billing.plans where price_id = 'price_lower'), 'tier_2_20',
    'a price means the tier that it pays for'
);
select old_user(u(45), 'price_tier_2_20_monthly'), old_credit(u(45), 1),
    old_purchase(u(45), 'p45', 1, '2025-03-01 00:00+00')
\g /dev/null
select moves(u(45)), returns(u(45)) \g /dev/null
update legacy_billing.subscriptions set status = 'canceled' where subscription_id = 'sub_45';
select billing.record_stripe_object(stripe_refund('re_45', 'pi_p45', 50)) \g /dev/null
select is(away(u(45)), 'tier_2_20 closed 0 0 | free 5 0 5 0.5 there | 0', 'a refund says nothing of a subscription');
update legacy_billing.customers set stripe_customer_id = 'cus_other' where user_id = u(45);
insert into legacy_billing.subscriptions (subscription_id, customer_id, price_id, status)
select 'sub_other', customer_id, 'price_tier_6_50_monthly', 'active' from legacy_billing.customers where user_id = u(45);
select is(moves(u(45)), 'migrated tier_6_50 55 0.5 55.5', 'a user comes back with another customer');
select is(
    (select stripe_customer_id from billing.billing_customers where user_id = u(45)), 'cus_other', 'who is known'
);

-- A purchase that was begun here, and is counted there.

select billing.open_account(u(46), 'buyer') \g /dev/null
select purchase_id as purchase from billing.record_purchase(u(46), 10) \gset
select returns(u(46)) \g /dev/null
select billing.legacy_record_purchase(u(46), 10, 1000, 'pi_46') \g /dev/null
select billing.record_stripe_object(stripe_intent('pi_46', 1000, :'purchase')) \g /dev/null
select is(
    (select bought_credit from billing.legacy_credit_balance(u(46)) c (bought_credit)), 10::numeric,
    'a payment counts once, whichever system took it'
);
select is((select status from billing.list_purchases(u(46))), 'failed', 'the purchase here is not the one');
select is(moves(u(46)), 'migrated free 0 10 10', 'and the user can return with it');

-- Many calls are handed over under one lock.

select billing.open_account(u(47), 'tier_2_20'), billing.grant_credits(u(47), 100, 'promotion') \g /dev/null
select billing.deduct_credits(u(47), 0.01) from generate_series(1, 300) \g /dev/null
select is(returns(u(47)), 'rolled_back 22 100 0 300 0', 'a user with many calls goes back');
select cmp_ok(
    (select n_tup_upd from pg_stat_xact_user_tables where relid = 'billing.user_migrations'::regclass), '<', 300::bigint,
    'whose row is not written for each of them'
);

-- A user who was born here, and has a subscription that is paid once they have returned.

select billing.open_account(u(48)) \g /dev/null
select returns(u(48)) \g /dev/null
select old_user(u(48), 'price_tier_2_20_monthly', 'past_due') \g /dev/null
select moves(u(48)) \g /dev/null
select lives_ok(
    $$select billing.record_stripe_object(stripe_subscription('sub_48', 'cus_48', 'tier_2_20'))$$,
    'the first grant after a return has a key of its own'
);

-- Whoever waits in the old system with an account from before loses nothing of either.
select old_user(u(75), 'price_tier_2_20_monthly'), old_usage(u(75), 3), old_credit(u(75), 50) \g /dev/null
insert into billing.credit_accounts (user_id, created_at, updated_at, tier)
values (u(75), billing_private.clock(), billing_private.clock(), 'free');
select billing_private.ready_account(u(75)) \g /dev/null
select billing.deduct_credits(u(75), 2), billing.grant_credits(u(75), 7, 'promotion') \g /dev/null
select is(returns(u(75)), 'rolled_back 3 7 0 1 0', 'one who waits there, and has an account, is handed what it has left');
select is(old_state(u(75)), 'tier_2_20 25 5 20 57 there', 'beside what was there');
select is(moves(u(75)), 'migrated tier_2_20 20 57 77', 'and all of it comes along');

select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
