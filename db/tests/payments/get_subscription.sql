-- A user's subscription is the paid one of the highest tier, else one that is overdue; what has ended is none.
\ir ../payments.psql

select billing.open_account(u, 'tier_2_20') from unnest(array[a(), b()]) u \g /dev/null
select customer(a(), 'cus_a') \g /dev/null
create function shows() returns text language sql as $$
    select concat_ws(' ', stripe_subscription_id, tier, status) from billing.get_subscription(a())
$$;

select rows_are(
    'select * from billing.get_subscription(a())',
    $$
    values (
        a(), null, 'tier_2_20', null, null, 'none', false, null::timestamptz, null::timestamptz, null::uuid
    )
    $$,
    'without one, the account''s tier'
);
select billing.record_stripe_object(
    stripe_subscription('sub_1', 'cus_a', 'tier_6_50', 'active', '2025-03-05 10:00+00', '2026-03-05 10:00+00', 'year', true)
) \g /dev/null
select rows_are(
    'select * from billing.get_subscription(a())',
    $$
    values (
        a(), 'sub_1', 'tier_6_50', null, 'year', 'active', true, '2025-03-05 10:00+00'::timestamptz,
        '2026-03-05 10:00+00'::timestamptz, null::uuid
    )
    $$,
    'with one, as Stripe last told it'
);
select billing.request_subscription_change(a(), 'reactivate') \g /dev/null
select is(
    (billing.get_subscription(a())).call_id, (select call_id from billing.stripe_calls where kind = 'subscription'),
    'and the change that is under way'
);
select is((billing.get_subscription(b())).status, 'none', 'nobody else has it');

-- Several.

select billing.record_stripe_object(stripe_subscription('sub_2', 'cus_a', 'tier_12_100', 'past_due')) \g /dev/null
select is(shows(), 'sub_1 tier_6_50 active', 'a paid one counts more than an overdue one');
select billing.record_stripe_object(stripe_subscription('sub_2', 'cus_a', 'tier_12_100')) \g /dev/null
select is(shows(), 'sub_2 tier_12_100 active', 'of two paid ones the higher tier');
select billing.record_stripe_object(stripe_subscription('sub_0', 'cus_a', 'tier_12_100')) \g /dev/null
select is(shows(), 'sub_0 tier_12_100 active', 'of two equal ones always the same');
select billing.record_stripe_object(stripe_subscription(id, 'cus_a', 'tier_12_100', 'canceled'))
from unnest(array['sub_0', 'sub_2']) id \g /dev/null
select is(shows(), 'sub_1 tier_6_50 active', 'what has ended does not count');
select billing.record_stripe_object(stripe_subscription('sub_1', 'cus_a', 'tier_6_50', 'unpaid')) \g /dev/null
select is(shows(), 'sub_1 tier_6_50 unpaid', 'what is overdue does, for want of another');
select billing.record_stripe_object(stripe_subscription('sub_1', 'cus_a', 'tier_6_50', 'canceled')) \g /dev/null
select is(shows(), 'free none', 'without any, the account is free');

select throws_ok('select billing.get_subscription(' || user_id || ')', code, name, user_id)
from (values ('null', 'UC400', 'invalid_request'), ('nobody()', 'UC404', 'account_not_found')) c (user_id, code, name);

select * from finish();
rollback;
