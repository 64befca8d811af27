-- Whatever the old system, the record of a migration, and an account tell differently is named, by user; what happens
-- after a migration is no difference.
\ir ../legacy.psql

create function u(p_number integer) returns uuid immutable language sql as
    $$select ('00000000-0000-0000-0001-' || lpad(p_number::text, 12, '0'))::uuid$$;
create function trim_scale_of(p_text text) returns text immutable language sql as
    $$select case when p_text ~ '^-?[0-9.]+$' then trim_scale(p_text::numeric)::text else p_text end$$;
create function differences(p_user_id uuid) returns text language sql as $$
    select string_agg(concat_ws(' ', problem, trim_scale_of(old), '|', trim_scale_of(new)), ', ')
    from billing.verify_migration(array[p_user_id])
$$;
select billing.bootstrap_super_admin(chief()) \g /dev/null

select old_user(u(n), 'price_tier_2_20_monthly'), old_usage(u(n), 5), old_credit(u(n), 10),
    old_purchase(u(n), 'p' || n, 10, '2025-01-01 00:00+00'), old_purchase(u(n), 'q' || n, 10, '2025-01-02 00:00+00')
from generate_series(1, 14) n \g /dev/null
select old_purchase(u(1), 'open', 5, '2025-01-03 00:00+00', 'pending'), old_user(u(20)), old_user(u(21), 'price_x')
\g /dev/null
select billing.migrate_users(array(select u(n) from generate_series(1, 14) n)) \g /dev/null
select is_empty(
    'select * from billing.verify_migration(array(select u(n) from generate_series(1, 14) n) || u(20))',
    'clean after a migration'
);

-- What is no difference.

select billing.deduct_credits(u(1), 21) \g /dev/null
select billing.legacy_record_purchase(u(1), 5, 500, 'pi_open'), billing.legacy_record_purchase(u(1), 6, 600, 'pi_new'),
    billing.grant_credits(u(1), 3, 'promotion'), billing.deduct_credits(u(1), 0.5), billing.hold_credits(u(1), 1)
\g /dev/null
select billing.change_tier(chief(), u(1), 'tier_6_50', 'r'),
    billing.request_refund(chief(), u(1), 5, 'r', true, 'pi_q1') \g /dev/null
select is(differences(u(1)), null, 'spending, buying, refunding and another tier are none');
set local tap.now = '2025-04-10 12:00+00';
select billing.grant_credits(u(1), 3, 'promotion') \g /dev/null
select is(differences(u(1)), null, 'nor is the next month');
select billing.rollback_users(array[u(1)]) \g /dev/null
select is(differences(u(1)), null, 'who went back is compared with nothing');
select moves(u(1)) \g /dev/null
select is(differences(u(1)), null, 'and who has returned is clean');
set local tap.now = '2025-03-10 12:00+00';

-- What is one.

alter table legacy_billing.usage_records disable trigger all;
alter table legacy_billing.purchases disable trigger all;
alter table legacy_billing.bought_credit disable trigger all;
select old_usage(u(2), 0.000000001) \g /dev/null
select old_usage(u(14), 100, '2025-02-28 23:59:59.999999+00'), old_usage(u(14), 100, '2025-04-01 00:00+00') \g /dev/null
select is(differences(u(14)), null, 'calls of other months are nothing to the migration');
select is(differences(u(2)), 'usage_differs 5.000000001 | 5', 'a call that was recorded later');
select old_credit(u(3), 10.000000001) \g /dev/null
select is(differences(u(3)), 'bought_credit_differs 10.000000001 | 10', 'credit that changed');
update legacy_billing.purchases set amount = 9 where purchase_id = 'p4';
update legacy_billing.purchases set price_cents = 1 where purchase_id = 'q4';
select is(
    (
        select string_agg(d.problem || ' ' || split_part(d.old, ',', 1), ', ' order by d.old)
        from billing.verify_migration(array[u(4)]) d
    ),
    'purchase_differs p4: 9 for 1000 cents, purchase_differs q4: 10 for 1 cents', 'a purchase that changed'
);
update legacy_billing.purchases set stripe_payment_intent_id = null where purchase_id = 'p5';
select is(
    (select string_agg(problem, ', ') from billing.verify_migration(array[u(5)])), 'purchase_differs',
    'whose payment is another'
);
select old_purchase(u(6), 'later', 1, '2025-01-01 00:00+00', 'failed') \g /dev/null
select is(differences(u(6)), 'purchase_missing later | none', 'a purchase that came later');
update billing.credit_purchases
set status = 'pending', entry_no = null, completed_at = null, spent_before = 0
where legacy_purchase_id = 'p7';
select matches(
    differences(u(7)), '^purchase_differs p7: 10 for 1000 cents, completed \| [0-9a-f-]+: 10 for 1000 cents, pending$',
    'a purchase that is not paid here'
);
update billing.credit_purchases set spent_before = 1 where legacy_purchase_id = 'q8';
select is(differences(u(8)), 'purchase_lot_differs q8: 9 left | 10', 'a purchase with more than was left');
update billing.credit_purchases set entry_no = 1 where legacy_purchase_id = 'p9';
select is(differences(u(9)), 'purchase_lot_differs p9: 0 left | 20', 'a spent one that has credits');
update billing.user_migrations set usage_before = 4 where user_id = u(10);
select is(differences(u(10)), 'usage_differs 5 | 4', 'a record of other usage');
update billing.user_migrations set tier_credits = 19 where user_id = u(11);
select is(differences(u(11)), 'tier_credits_differ 20 | 20', 'of other credits than were granted');
update billing.user_migrations set monthly_credits = 24 where user_id = u(12);
select is(differences(u(12)), 'tier_credits_differ 19 | 20', 'or of less than was granted');
update billing.user_migrations set bought_credit = 11 where user_id = u(13);
select old_credit(u(13), 11) \g /dev/null
select is(differences(u(13)), 'bought_credit_differs 11 | 10', 'or of credit that no entry has');
update billing.credit_grants set amount = amount + 0.000000001 where user_id = u(14) and grant_no = 1;
select is(differences(u(14)), 'lots_differ 30 | 30.000000001', 'a lot of another amount than its entry');
update billing.credit_grants set amount = amount - 0.000000001 where user_id = u(14) and grant_no = 1;
update billing.credit_accounts set balance = balance + 1 where user_id = u(14);
select is(differences(u(14)), 'balance_differs 30 | 31', 'a balance that its lots don''t have');
update billing.credit_accounts set balance = balance - 1 where user_id = u(14);
update billing.credit_grants set remaining = remaining - 1 where user_id = u(14) and grant_no = 2;
select is(differences(u(14)), 'balance_differs 29 | 30', 'or lots');
update billing.credit_grants set remaining = remaining + 1 where user_id = u(14) and grant_no = 2;
select is(differences(u(14)), null, 'put right, it is clean again');
delete from legacy_billing.subscriptions where subscription_id = 'sub_14';
delete from legacy_billing.customers where user_id = u(14);
select is(differences(u(14)), 'customer_missing none | migrated', 'a user whom the old system lost');
select old_user(u(30)) \g /dev/null
insert into billing.user_migrations
select (jsonb_populate_record(m, jsonb_build_object('user_id', u(30)))).*
from billing.user_migrations m
where user_id = u(2);
select ok(
    exists (select from billing.verify_migration(array[u(30)]) where problem = 'account_missing'),
    'a user who has no account'
);

-- All together.

select is(
    (
        select string_agg(distinct right(user_id::text, 2), ' ' order by right(user_id::text, 2))
        from billing.verify_migration(array(select u(n) from generate_series(1, 30) n))
        where problem <> 'unknown_user'
    ),
    '02 03 04 05 06 07 08 09 10 11 12 13 14 21 30', 'each of them is named, and nobody else'
);
select rows_are(
    'select * from billing.verify_migration(array[u(20), u(21), nobody()])',
    $$
    values (nobody(), 'unknown_user', 'unknown', 'unknown'),
        (u(21), 'unknown_price', 'No tier is known for price price_x.', 'not migrated')
    $$,
    'of those who wait, who can''t be moved, and why; and strangers'
);
select throws_ok(
    'select billing.verify_migration(' || p_ids || ')', 'UC400', 'invalid_request', 'not for ' || left(p_ids, 40)
)
from unnest(array[
    'null', 'array[]::uuid[]', 'array[null]::uuid[]', 'array(select gen_random_uuid() from generate_series(1, 1001))'
]) p_ids;

-- Subscriptions.

select old_user(u(41), 'price_tier_2_20_monthly', 'active', 'cus_41'), old_user(u(42), 'price_tier_2_20_monthly')
\g /dev/null
select billing.migrate_users(array[u(41), u(42)]) \g /dev/null
update legacy_billing.subscriptions set status = 'canceled' where subscription_id in ('sub_41', 'sub_42');
delete from billing.billing_subscriptions where stripe_subscription_id = 'sub_42';
select is(
    differences(u(41)),
    'subscription_differs sub_41: canceled at price_tier_2_20_monthly | active at price_tier_2_20_monthly',
    'a subscription that has changed in the old system'
);
select is(
    differences(u(42)), 'subscription_missing sub_42: canceled at price_tier_2_20_monthly | none', 'one that is gone here'
);
select billing.rollback_users(array[u(41)]) \g /dev/null
select is(
    (select status from legacy_billing.subscriptions where subscription_id = 'sub_41'), 'canceled',
    'a rollback leaves what the old system knows better'
);
select billing.migrate_users(array[u(41)]) \g /dev/null
update billing.billing_subscriptions set status = 'active', synced_at = tap_now() where stripe_subscription_id = 'sub_41';
select is(differences(u(41)), null, 'what Stripe has told here since is no difference');

select * from finish();
rollback;
