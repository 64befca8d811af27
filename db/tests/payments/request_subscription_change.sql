-- A change of a subscription is recorded before Stripe is asked: one at a time, and none when everything is as wanted.
\ir ../payments.psql

select billing.open_account(u) from unnest(array[a(), b()]) u \g /dev/null
select customer(a(), 'cus_a') \g /dev/null
create function stripe_tells(
    p_tier text, p_ends boolean default false, p_status text default 'active',
    p_start timestamptz default '2025-03-01 00:00+00'
)
returns void language sql as $$
    select billing.record_stripe_object(stripe_subscription(
        'sub_a', 'cus_a', p_tier, p_status, p_start, p_start + interval '1 month', p_cancel_at_period_end => p_ends
    ))
$$;
-- What is to be done at Stripe, but for the ids.
create function asks(p_change text, p_tier text default null) returns jsonb language plpgsql as $$
declare
    v_call_id uuid := (billing.request_subscription_change(a(), p_change, p_tier)).call_id;
begin
    return (
        select request - array['subscription_id', 'item_id', 'name', 'lookup_key', 'interval']
        from billing.stripe_calls
        where call_id = v_call_id
    );
end
$$;
create function done() returns void language sql as
$$update billing.stripe_calls set status = 'done', next_attempt_at = null where status = 'pending'$$;
select throws_ok(
    $$select billing.request_subscription_change(a(), 'cancel')$$, 'UC404', 'subscription_not_found',
    'there must be one'
);
select stripe_tells('tier_6_50') \g /dev/null

-- Cancel and reactivate.

select rows_are(
    $$
    select stripe_subscription_id, tier, status, cancel_at_period_end, call_id is not null
    from billing.request_subscription_change(a(), 'cancel')
    $$,
    $$values ('sub_a', 'tier_6_50', 'active', false, true)$$, 'until Stripe has done it, everything stands as it was'
);
select rows_are(
    $$
    select kind, subject_id, user_id, request, status from billing.stripe_calls where status = 'pending'
    $$,
    $$
    values (
        'subscription', 'sub_a', a(),
        '{"subscription_id": "sub_a", "item_id": "si_sub_a", "change": "cancel"}'::jsonb, 'pending'
    )
    $$,
    'a call says what is to be done'
);
select is(
    (billing.request_subscription_change(a(), 'cancel')).call_id,
    (select call_id from billing.stripe_calls where status = 'pending'), 'the same change is the same call'
);
select throws_ok(
    format('select billing.request_subscription_change(a(), %s)', change), 'UC409', 'change_pending',
    'another one waits for its end: ' || change
)
from unnest(array['''reactivate''', '''tier'', ''tier_12_100''', '''tier'', ''tier_6_50''']) change;
select done() \g /dev/null
select stripe_tells('tier_6_50', true) \g /dev/null
select is(asks('cancel'), null, 'what is canceled needs no cancellation');
select is(asks('reactivate'), '{"change": "reactivate"}', 'and can be taken back');
select done() \g /dev/null
select stripe_tells('tier_6_50') \g /dev/null
select is(asks('reactivate'), null, 'once');

-- Tiers.

select billing.request_subscription_change(a(), 'tier', 'tier_12_100') \g /dev/null
select rows_are(
    $$select request from billing.stripe_calls where status = 'pending'$$,
    $$
    values ('{"subscription_id": "sub_a", "item_id": "si_sub_a", "change": "tier", "tier": "tier_12_100", "interval": "month",
        "name": "Business", "unit_cents": 10000, "lookup_key": "credit_billing_tier_12_100_month",
        "proration": "always_invoice"}'::jsonb)
    $$,
    'a higher tier is charged at once'
);
select throws_ok(
    $$select billing.request_subscription_change(a(), 'tier', 'tier_25_200')$$, 'UC409', 'change_pending',
    'and then another one'
);
select done() \g /dev/null
select is(asks('tier', 'tier_6_50'), null, 'the present tier is no change');
select is(
    asks('tier', 'tier_2_20'), '{"change": "tier", "tier": "tier_2_20", "unit_cents": 2000, "proration": "none"}',
    'a lower tier is charged from the next period on'
);
select done() \g /dev/null
select stripe_tells('tier_2_20') \g /dev/null
select rows_are(
    'select tier, next_tier from billing.get_subscription(a())', $$values ('tier_6_50', 'tier_2_20')$$, 'so it waits'
);
select is(asks('tier', 'tier_2_20'), null, 'what waits is no change');
select throws_ok(
    $$select billing.request_subscription_change(a(), 'tier', 'tier_12_100')$$, 'UC409', 'change_pending',
    'an upgrade beside it would charge the difference from there'
);
select is(
    asks('tier', 'tier_6_50'), '{"change": "tier", "tier": "tier_6_50", "unit_cents": 5000, "proration": "none"}',
    'the present tier takes it back, which costs nothing'
);
select done() \g /dev/null
select stripe_tells('tier_6_50') \g /dev/null
select rows_are(
    'select tier, next_tier from billing.get_subscription(a())', $$values ('tier_6_50', null)$$, 'then nothing waits'
);
select is(asks('tier', 'tier_12_100') ->> 'proration', 'always_invoice', 'and up it goes');
select done() \g /dev/null

-- By the year.

select billing.record_stripe_object(
    stripe_subscription('sub_a', 'cus_a', 'tier_6_50', 'active', '2025-03-08 00:00+00', '2026-03-08 00:00+00', 'year')
) \g /dev/null
select is(
    asks('tier', 'tier_12_100') ->> 'unit_cents', '120000', 'a yearly subscription changes to the price of a year'
);
select done() \g /dev/null
select stripe_tells('tier_6_50', p_status => 'past_due', p_start => '2025-03-09 00:00+00') \g /dev/null
select is(asks('cancel'), '{"change": "cancel"}', 'what is overdue can be canceled');
select done() \g /dev/null

select throws_ok('select billing.request_subscription_change(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null, ''cancel''', 'UC400', 'invalid_request'),
    ('a(), null', 'UC400', 'invalid_request'),
    ('a(), ''pause''', 'UC400', 'invalid_request'),
    ('a(), ''tier''', 'UC400', 'invalid_request'),
    ('nobody(), ''cancel''', 'UC404', 'account_not_found'),
    ('b(), ''cancel''', 'UC404', 'subscription_not_found'),
    ('a(), ''tier'', ''gold''', 'UC404', 'unknown_tier'),
    ('a(), ''tier'', ''free''', 'UC422', 'tier_not_for_sale')
) c (arguments, code, name);
select is(
    (select count(*) from billing.stripe_calls where status = 'pending'), 0::bigint, 'a refusal records nothing'
);
select stripe_tells('tier_6_50', p_status => 'canceled') \g /dev/null
select throws_ok(
    $$select billing.request_subscription_change(a(), 'reactivate')$$, 'UC404', 'subscription_not_found',
    'what has ended does not come back'
);

select * from finish();
rollback;
