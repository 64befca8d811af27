-- A user of the old system may make a call while the month's limit or bought credit lasts; one who has left it, while
-- the account does. Asking changes nothing.
\ir ../legacy.psql

select old_user(a()), old_usage(a(), 1.5), old_usage(a(), 100, '2025-02-28 23:59:59.999999+00'),
    old_user(b(), 'price_tier_2_20_monthly'), old_usage(b(), 25), old_user(c(), 'price_tier_6_50_monthly'),
    old_usage(c(), 60),
    old_credit(c(), 0.000000001), old_user(d(), 'price_tier_6_50_monthly', 'past_due'), old_usage(d(), 2) \g /dev/null
set local role billing_api;
select is(billing.legacy_check(u)::text, wanted, 'in the old system: ' || wanted)
from (values
    (a(), '(t,OK,free,5.00,1.5,3.50,0,f)'),
    (b(), '(f,"The limit of 25.00 for this month is reached.",tier_2_20,25.00,25,0,0,f)'),
    (c(), '(t,OK,tier_6_50,55.00,60,0,0.000000001,f)'), (d(), '(t,OK,free,5.00,2,3.00,0,f)'),
    (nobody(), '(t,OK,free,5.00,0,5.00,0,f)')
) v (u, wanted);
select throws_ok('select billing.legacy_check(null)', 'UC400', 'invalid_request', 'a user must be given');
reset role;
select old_user(e(), 'price_tier_2_20_monthly'), old_user(e(), 'price_tier_12_100_monthly', 'active', 'cus_0e')
\g /dev/null
select is(old_state(e()), 'tier_12_100 105 0 105 0 there', 'of several subscriptions the highest limit counts');
select is(
    (
        select count(*)
        from billing.credit_accounts) + (select count(*) from legacy_billing.customers where user_id = nobody()
    ),
    0::bigint, 'asking opens nothing'
);

-- Here.

select billing.migrate_users(array[a(), b(), c(), d()]) \g /dev/null
set local role billing_api;
select is(billing.legacy_check(u)::text, wanted, 'from the account: ' || wanted)
from (values
    (a(), '(t,OK,free,5.00,1.5,3.5,0.0,t)'),
    (b(), '(f,"0.01 credits needed, 0 available.",tier_2_20,25.00,25,0,0,t)'),
    (c(), '(f,"0.01 credits needed, 0.000000001 available.",tier_6_50,55.00,60,0,0.000000001,t)'),
    (d(), '(f,"0.01 credits needed, 0 available.",tier_6_50,55.00,2,0,0,t)')
) v (u, wanted);
reset role;
select billing.deduct_credits(a(), 0.5), billing.grant_credits(a(), 7, 'promotion'), billing.hold_credits(a(), 1)
\g /dev/null
select is(
    old_state(a()), 'free 5 2 2 7 here',
    'what ends with the month is its rest, less what is held; everything else is credit'
);
select entry_no as entry from billing.deduct_credits(a(), 2) \gset
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.reverse_entry(chief(), a(), :entry, 'r') \g /dev/null
select is(old_state(a()), 'free 5 2 2 7 here', 'credits of the month that a reversal gave back are of the month');
select billing.hold_credits(a(), 8.5) \g /dev/null
select is(old_state(a()), 'free 5 2 0 0.5 here', 'no more is left than is available');
select billing.set_account_status(chief(), a(), 'frozen', 'r') \g /dev/null
select is((billing.legacy_check(a())).can_run, false, 'a frozen account runs nothing');
set local tap.now = '2025-04-01 00:00+00';
select is(old_state(b()), 'tier_2_20 25 0 0 0 here', 'the month''s credits are those that were granted');
select billing.open_account(nobody()) \g /dev/null
select is(old_state(nobody()), 'free 5 0 5 0 here', 'one who was born here is answered from here');

-- There again.

select returns(b()) \g /dev/null
select is(old_state(b()), 'tier_2_20 25 0 25 0 there', 'one who went back is answered from there');

select * from finish();
rollback;
