-- Refunds, newest first, of one user or all, in one status or any, page by page.
\ir ../payments.psql

create function amounts(p_query text) returns text language plpgsql as $$
declare
    v_amounts text;
begin
    execute format('select string_agg(trim_scale(amount)::text, '' '') from billing.list_refunds(%s)', p_query)
    into v_amounts;
    return v_amounts;
end
$$;
select billing.bootstrap_super_admin(chief()) \g /dev/null
select buys(a(), 10, 'pi_a'), buys(b(), 10, 'pi_b') \g /dev/null
select set_config('tap.now', '2025-03-10 12:01+00', true), billing.request_refund(chief(), a(), 1, 'r') \g /dev/null
select set_config('tap.now', '2025-03-10 12:02+00', true),
    billing.request_refund(chief(), a(), 2, 'r', true, 'pi_a') \g /dev/null
select set_config('tap.now', '2025-03-10 12:03+00', true), billing.request_refund(chief(), b(), 3, 'r') \g /dev/null
select set_config('tap.now', '2025-03-10 12:04+00', true),
    billing.record_stripe_object(stripe_refund('re_4', 'pi_foreign', 400)) \g /dev/null
select set_config('tap.now', '2025-03-10 12:05+00', true),
    billing.record_stripe_object(stripe_refund('re_5', 'pi_a', 500, p_status => 'failed')) \g /dev/null
set local role billing_api;
select is(amounts(''), '5 4 3 2 1', 'all, those made at Stripe and those of nobody too');
select is(amounts('a()'), '5 2 1', 'those of a user');
select is(amounts('p_status => ''succeeded'''), '4 3 1', 'those in a status');
select is(amounts('a(), ''failed'''), '5', 'both');
select is(amounts('p_limit => 2'), '5 4', 'a page');
select is(
    amounts('p_limit => 2, p_before => (select refund_id from billing.list_refunds() where amount = 4)'), '3 2',
    'the next one begins after the last row of it'
);
select is(
    amounts('a(), p_before => (select refund_id from billing.list_refunds() where amount = 4)'), '2 1', 'of a user too'
);
select is(amounts('nobody()'), null::text, 'who has none');
select is(amounts('p_status => ''lost'''), null::text, 'no such status');
select rows_are(
    'select * from billing.list_refunds()', 'select (billing.get_refund(refund_id)).* from billing.list_refunds()',
    'each is told as get_refund tells it'
);
select throws_ok(
    'select billing.list_refunds(p_limit => ' || p_limit || ')', 'UC422', 'limit_out_of_range', 'a page of ' || p_limit
)
from (values ('0'), ('501'), ('null')) c (p_limit);
select lives_ok('select billing.list_refunds(p_limit => 500)', 'a page of 500');

select * from finish();
rollback;
