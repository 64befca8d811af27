-- A user sees what the automatic top-up does, and what it has charged in this month.
\ir ../payments.psql

select billing.open_account(u, 'buyer') from unnest(array[a(), b()]) u \g /dev/null
select rows_are(
    'select * from billing.get_auto_top_up(a())',
    $$
    values (
        a(), false, null::numeric, null, null::numeric, 0.0, null, null, null::int, null::timestamptz, null::timestamptz
    )
    $$,
    'who has none has it turned off'
);
select billing.set_auto_top_up(u, true, 100, '10', 45, 'pm_1') from unnest(array[a(), b()]) u \g /dev/null
select rows_are(
    'select * from billing.get_auto_top_up(a())',
    $$
    values (
        a(), true, 100, '10', 45, 0.0, 'pm_1', null, 0, null::timestamptz, '2025-03-10 12:00+00'::timestamptz
    )
    $$,
    'it shows what was set'
);
create function charged() returns numeric language sql as
'select spent_this_month from billing.get_auto_top_up(a())';
create function charge(p_status text) returns void language sql as $$
    select billing.record_stripe_object(
        stripe_intent('pi_' || purchase_id, price_cents, purchase_id, p_status)
            || case p_status when 'canceled' then '{}' else '{"last_payment_error": null}' end::jsonb
    )
    from billing.request_top_up(a())
    where purchase_id is not null
$$;
select billing.request_top_up(a()) \g /dev/null
select is(charged(), 10, 'a charge under way counts');
select billing.fail_stripe_call(call_id, 'no') from billing.stripe_calls where kind = 'top_up' \g /dev/null
select is(charged(), 0, 'one that was refused does not');
select billing.set_auto_top_up(a(), true, p_payment_method_id => 'pm_2') \g /dev/null
select charge('succeeded') \g /dev/null
select is(charged(), 10, 'one that was paid does');
select charge('processing') \g /dev/null
select is(charged(), 20, 'and one that is being paid');
select buys(a(), 50, 'pi_a') \g /dev/null
select is(charged(), 20, 'what the user buys does not');
select is((billing.get_auto_top_up(b())).spent_this_month, 0, 'nor what others do');
set local tap.now = '2025-03-31 23:59:59.999+00';
select is(charged(), 20, 'the month lasts to its end, in UTC');
set local timezone = 'Pacific/Auckland';
select is(charged(), 20, 'wherever the session is');
set local tap.now = '2025-04-01 00:00+00';
select is(charged(), 0, 'then the next begins');

select throws_ok('select billing.get_auto_top_up(' || user_id || ')', code, name, user_id)
from (values ('null', 'UC400', 'invalid_request'), ('nobody()', 'UC404', 'account_not_found')) c (user_id, code, name);

select * from finish();
rollback;
