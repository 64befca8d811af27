-- A refund, as it stands.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select buys(a(), 10, 'pi_1') \g /dev/null
select billing.deduct_credits(a(), 7) \g /dev/null
set local role billing_api;
select refund_id as money from billing.request_refund(chief(), a(), 5, 'broken', true, 'pi_1', false, true) \gset
select refund_id as credits from billing.request_refund(chief(), a(), 1.5, 'slow') \gset
select rows_are(
    format('select * from billing.get_refund(%L)', :'money'),
    format(
        $$
        values (
            %L::uuid, a(), 'money', 5::numeric, 500::bigint, 'pi_1', null::text, 'requested', chief(), 'broken',
            null::bigint, 3::numeric, 0::numeric, 2::numeric, null::text, '2025-03-10 12:00+00'::timestamptz,
            '2025-03-10 12:00+00'::timestamptz
        )
        $$,
        :'money'
    ),
    'of money: what is paid back, what was taken for it, and what is owed'
);
set local tap.now = '2025-03-10 12:05+00';
select billing.finish_refund(:'money', stripe_refund('re_1', 'pi_1', 500, :'money')) \g /dev/null
select rows_are(
    format('select status, stripe_refund_id, clawed, owed, created_at, updated_at from billing.get_refund(%L)', :'money'),
    $$
    values (
        'succeeded', 're_1', 3::numeric, 2::numeric, '2025-03-10 12:00+00'::timestamptz,
        '2025-03-10 12:05+00'::timestamptz
    )
    $$,
    'later: what Stripe said, and when'
);
select rows_are(
    format(
        $$
        select mode, amount, amount_cents, payment_intent_id, status, reason, clawed, spent, owed, entry_no is not null
        from billing.get_refund(%L)
        $$,
        :'credits'
    ),
    $$
    values ('credits', 1.5, null::bigint, null::text, 'succeeded', 'slow', 0::numeric, 0::numeric, 0::numeric, true)
    $$,
    'of credits: the entry that granted them'
);
select throws_ok('select billing.get_refund(' || id || ')', 'UC404', 'refund_not_found', 'there is no refund ' || id)
from (values ('nobody()'), ('null')) c (id);

select * from finish();
rollback;
