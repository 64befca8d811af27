-- A user's purchases are told in the old terms, newest first and in pages, from the system that the user lives in.
\ir ../legacy.psql

create function told(p_user_id uuid, p_before text default null, p_limit integer default 50)
returns text language sql as $$
    select string_agg(concat_ws(' ', purchase_id, trim_scale(amount), price_cents, status, migrated), ', ' order by n)
    from billing.legacy_purchases(p_user_id, p_before, p_limit) with ordinality p (
        purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at, migrated,
        replayed, n
    )
$$;
select old_user(a()), old_credit(a(), 3), old_purchase(a(), 'p1', 1, '2025-01-01 00:00+00'),
    old_purchase(a(), 'p3', 2, '2025-01-02 00:00+00'),
    old_purchase(a(), 'p2', 3, '2025-01-02 00:00+00', 'pending'),
    old_purchase(a(), 'p4', 4, '2025-01-02 00:00+00', 'failed'),
    old_purchase(a(), 'p0', 5, '2025-01-03 00:00+00', 'refunded'), old_purchase(b(), 'p9', 5, '2025-01-03 00:00+00')
\g /dev/null
create function is_told(p_migrated text) returns setof text language sql as $$
    select is(
        told(a()),
        replace(
            'p0 5 500 refunded ?, p4 4 400 failed ?, p3 2 200 completed ?, p2 3 300 pending ?, p1 1 100 completed ?',
            '?', p_migrated
        ),
        'newest first; of the same time, the highest id first'
    )
    union all
    select is(told(a(), null, 2), replace('p0 5 500 refunded ?, p4 4 400 failed ?', '?', p_migrated), 'a page')
    union all
    select is(
        told(a(), 'p4', 2), replace('p3 2 200 completed ?, p2 3 300 pending ?', '?', p_migrated),
        'the next, of equal times too'
    )
    union all
    select is(told(a(), 'p2', 2), replace('p1 1 100 completed ?', '?', p_migrated), 'and the last')
    union all
    select is(told(a(), 'p1', 2), null, 'after which there is none')
    union all
    select is(told(a(), 'p9', 2), null, 'nor after one of somebody else')
$$;
select is_told('f');
set local role billing_api;
select rows_are(
    'select * from billing.legacy_purchases(a(), ''p2'')',
    $$
    values (
        'p1', a(), 1, 100, 'completed', 'pi_p1', '2025-01-01 00:00+00'::timestamptz, '2025-01-01 00:00+00'::timestamptz,
        false, false
    )
    $$,
    'with all that there is to tell'
);
select is(told(nobody()), null, 'a stranger has none');
reset role;
select moves(a()) \g /dev/null
select is_told('t');
set local role billing_api;
select rows_are(
    'select * from billing.legacy_purchases(a(), ''p2'')',
    $$
    values (
        'p1', a(), 1, 100, 'completed', 'pi_p1', '2025-01-01 00:00+00'::timestamptz, '2025-01-01 00:00+00'::timestamptz,
        true, false
    )
    $$,
    'here it is the same'
);
select throws_ok(format('select billing.legacy_purchases(%s)', arguments), code, name, name || ': ' || arguments)
from (values
    ('null', 'UC400', 'invalid_request'), ('a(), null, 0', 'UC422', 'limit_out_of_range'),
    ('a(), null, 501', 'UC422', 'limit_out_of_range'), ('a(), null, null', 'UC422', 'limit_out_of_range')
) c (arguments, code, name);
reset role;

-- What happens here, in the old terms.

select billing.open_account(c(), 'buyer') \g /dev/null
select purchase_id as one from billing.record_purchase(c(), 10) \gset
select is((select status from billing.legacy_purchases(c())), 'pending', 'about to be made');
select billing.record_stripe_object(stripe_session('cs_c', :'one', 1000, null, 'open', 'unpaid')) \g /dev/null
select is((select status from billing.legacy_purchases(c())), 'pending', 'open');
select billing.record_stripe_object(stripe_session('cs_c', :'one', 1000, 'pi_c', 'complete', 'unpaid')) \g /dev/null
select is((select status from billing.legacy_purchases(c())), 'pending', 'on its way');
select billing.record_stripe_object(stripe_session('cs_c', :'one', 1000, null, 'expired', 'unpaid')) \g /dev/null
select billing.record_stripe_object(stripe_intent('pi_c', 1000, :'one')) \g /dev/null
select is(told(c()), :'one' || ' 10 1000 completed t', 'paid, under the id that it has here');
set local tap.now = '2025-03-11 12:00+00';
select purchase_id as two from billing.record_purchase(c(), 10) \gset
select billing.record_stripe_object(stripe_session('cs_2', :'two', 1000, null, 'expired', 'unpaid')) \g /dev/null
select is((select status from billing.legacy_purchases(c(), null, 1)), 'failed', 'expired');
select returns(c()) \g /dev/null
select is(told(c()), :'one' || ' 10 1000 completed f', 'there, what was paid, under that id');

select * from finish();
rollback;
