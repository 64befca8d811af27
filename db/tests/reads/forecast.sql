-- How long credits last at the present pace, what expires until then, and what comes next.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
-- per_day, available, lasts_days, runs_out_at, expires_unused
create function pace(p_user uuid) returns text language sql as $$
    select concat_ws(' ', per_day, trim_scale(available), coalesce(lasts_days::text, '-'),
        coalesce(to_char(runs_out_at at time zone 'UTC', 'MM-DD HH24:MI'), '-'), expires_unused)
    from billing.forecast(p_user)
$$;
create function next_grant(p_user uuid) returns text language sql as $$
    select concat_ws(' ', to_char(next_grant_at at time zone 'UTC', 'MM-DD HH24:MI'), trim_scale(next_grant_amount))
    from billing.forecast(p_user)
$$;

-- The pace.

select billing.open_account(a(), 'buyer') \g /dev/null
select billing.grant_credits(a(), 100, 'promotion') \g /dev/null
select is(pace(a()), '0 100 - - 0', 'nothing is used: it lasts for ever');
set local tap.now = '2025-03-10 18:00+00';
select billing.deduct_credits(a(), 4) \g /dev/null
select is(pace(a()), '4 96 24.00 04-03 18:00 0', 'on the first day it counts as one');
set local tap.now = '2025-03-18 12:00+00';
select is(pace(a()), '0.5 96 192.00 09-26 12:00 0', 'later, the days since the account was opened');
select billing.deduct_credits(a(), 24) \g /dev/null
set local tap.now = '2025-03-24 12:00+00';
select is(pace(a()), '2 72 36.00 04-29 12:00 0', 'after 14 days, these');
set local tap.now = '2025-03-24 18:00:00.000001+00';
select is((billing.forecast(a())).per_day, 1.714285714, 'and no longer, to 9 places');
select billing.adjust_credits(chief(), a(), -10, 'r') \g /dev/null
select is((billing.forecast(a())).per_day, 1.714285714, 'a negative adjustment is no usage');
select billing.adjust_credits(chief(), a(), 10, 'r') \g /dev/null
select is((billing.forecast(a())).per_day, 1.714285714, 'nor is a positive one');
select billing.deduct_credits(a(), 999) \g /dev/null
select is((billing.forecast(a())).per_day, 1.714285714, 'nor a refusal');
select billing.deduct_credits(a(), 14) \g /dev/null
select entry_no from billing.list_entries(a(), p_limit => 1) \gset
select billing.reverse_entry(chief(), a(), :entry_no, 'r') \g /dev/null
select is((billing.forecast(a())).per_day, 1.714285714, 'nor what was reversed');
select entry_no from billing.list_entries(a(), p_type => 'adjustment') where amount = -10 \gset
select billing.reverse_entry(chief(), a(), :entry_no, 'r') \g /dev/null
select is((billing.forecast(a())).per_day, 1.714285714, 'of a reversed adjustment neither half counts');
select billing.reverse_entry(chief(), a(), 2, 'r') \g /dev/null
select is((billing.forecast(a())).per_day, 1.714285714, 'nor the reversal of what was used before these 14 days');
select billing.deduct_credits(a(), 4) \g /dev/null
select is((billing.forecast(a())).per_day, 2, 'but what is used does');
-- Its clocks are set forward within these 14 days.
set local timezone = 'Europe/Berlin';
select billing.open_account(b(), 'buyer') \g /dev/null
select billing.grant_credits(b(), 1000, 'promotion') \g /dev/null
select billing.deduct_credits(b(), 14) \g /dev/null
select billing.adjust_credits(chief(), b(), -7, 'r') \g /dev/null
set local tap.now = '2025-04-07 18:00:00.000001+00';
select is(pace(b()), '1 979 979.00 12-12 18:00 0', 'the last moment of the 14 days, in any time zone');
set local tap.now = '2025-04-07 18:00:00.000002+00';
select is(pace(b()), '0 979 - - 0', 'and the first one after them');
reset timezone;

-- What is there.

set local tap.now = '2025-05-01 00:00+00';
select billing.open_account(u, 'buyer') from unnest(array[c(), d(), e()]) u \g /dev/null
select billing.grant_credits(c(), 30, 'promotion', p_expires_at => '2025-05-11 00:00+00', p_priority => 10) \g /dev/null
select billing.grant_credits(c(), 40, 'promotion', p_expires_at => '2025-05-13 00:00+00', p_priority => 20) \g /dev/null
select billing.grant_credits(c(), 50, 'promotion', p_expires_at => '2025-05-08 00:00+00', p_priority => 30) \g /dev/null
select billing.grant_credits(c(), 10, 'promotion', p_priority => 40) \g /dev/null
select is(pace(c()), '0 130 - - 120', 'without usage all expires that can');
select billing.deduct_credits(c(), 5) \g /dev/null
-- 25 last 5 days, 40 until the 13th (35 used), 50 have expired by then, 10 last 2 days.
select is(pace(c()), '5 125 14.00 05-15 00:00 55', 'lots in burn order, each until it is used up or expires');
select billing.hold_credits(c(), 20, '30 days') \g /dev/null
-- 5 last 1 day, 40 last 8 days, 50 have expired by then, 10 last 2 days.
select is(pace(c()), '5 105 11.00 05-12 00:00 50', 'what is held is as good as spent');
select billing.deduct_credits(c(), 105) \g /dev/null
select is(pace(c()), '110 0 0.00 05-01 00:00 0', 'nothing is left, and nothing expires that is held');

-- A lot that is past its time, and kept by a hold.
select billing.grant_credits(d(), 8, 'promotion', p_expires_at => '2025-05-02 00:00+00', p_priority => 90) \g /dev/null
select billing.grant_credits(d(), 10, 'promotion', p_priority => 10) \g /dev/null
select billing.deduct_credits(d(), 2) \g /dev/null
select billing.hold_credits(d(), 3, '30 days') \g /dev/null
set local tap.now = '2025-05-02 00:00+00';
select is(pace(d()), '2 8 4.00 05-06 00:00 0', 'is kept for the hold alone');

-- As far as one can see.
select billing.grant_credits(e(), 3652, 'promotion') \g /dev/null
select billing.deduct_credits(e(), 1) \g /dev/null
select is(pace(e()), '1 3651 - - 0', 'beyond 10 years nothing is told');
select billing.deduct_credits(e(), 1) \g /dev/null
select is((billing.forecast(e())).lasts_days, 1825.00, 'but up to there');
select billing.grant_credits(e(), 10000, 'promotion', p_expires_at => '2035-04-30', p_priority => 20) \g /dev/null
select billing.grant_credits(e(), 10000, 'promotion', p_expires_at => '2035-05-01', p_priority => 200) \g /dev/null
select is(pace(e()), '2 23650 - - 2700', 'nor of what expires beyond');

-- What comes next.

create function f() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000f1'::uuid$$;
select billing.open_account(f(), 'tier_6_50') \g /dev/null
select is(next_grant(a()), '', 'a tier that grants nothing');
select is(next_grant(f()), '06-01 00:00 55', 'the next month''s credits');
select billing.change_tier(chief(), f(), 'tier_2_20', 'r') \g /dev/null
select is(next_grant(f()), '06-01 00:00 25', 'of the tier that the account has');
update billing.billing_tiers set monthly_credits = 26 where name = 'tier_2_20';
select is(next_grant(f()), '06-01 00:00 26', 'with the amount that counts by then');
set local tap.now = '2025-06-01 00:00+00';
update billing.billing_tiers set monthly_credits = 27 where name = 'tier_2_20';
set local tap.now = '2025-06-03 10:00+00';
select is(next_grant(f()), '06-03 10:00 26', 'what is owed already comes at once');
select billing.set_account_status(chief(), f(), 'frozen', 'r') \g /dev/null
select is(next_grant(f()), '', 'a frozen account gets none');
select billing.set_account_status(chief(), f(), 'active', 'r') \g /dev/null
select billing.grant_monthly_credits() \g /dev/null
select is(next_grant(f()), '07-01 00:00 27', 'then the month after');

select customer(f(), 'cus_f') \g /dev/null
select billing.record_stripe_object(
    stripe_subscription('sub_f', 'cus_f', 'tier_2_20', p_start => '2025-05-20', p_end => '2025-06-20')
) \g /dev/null
select is(next_grant(f()), '07-01 00:00 27', 'with a subscription');
update billing.billing_subscriptions set next_tier = 'free' where stripe_subscription_id = 'sub_f';
select is(next_grant(f()), '07-01 00:00 5', 'that goes down before');
update billing.billing_subscriptions
set next_tier = null, cancel_at_period_end = true where stripe_subscription_id = 'sub_f';
select is(next_grant(f()), '07-01 00:00 5', 'or ends before');
update billing.billing_subscriptions
set current_period_end = '2025-07-01 00:00:01+00' where stripe_subscription_id = 'sub_f';
select is(next_grant(f()), '07-01 00:00 27', 'but not after');
update billing.billing_subscriptions set status = 'past_due' where stripe_subscription_id = 'sub_f';
select is(next_grant(f()), '', 'none while its payment is overdue');

select is(
    (select (next_grant_at is null and next_grant_amount is null)::text from billing.forecast(f())), 'true',
    'both are null then'
);
select throws_ok('select billing.forecast(null)', 'UC400', 'invalid_request', 'a user must be given');
select throws_ok('select billing.forecast(nobody())', 'UC404', 'account_not_found', 'who has an account');

select * from finish();
rollback;
