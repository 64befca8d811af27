-- A call that did not get through is tried again, after pauses that grow to an hour, for as long as it takes.
\ir ../payments.psql

select billing.open_account(a()) \g /dev/null
select billing.request_customer(a()) \g /dev/null
create function id() returns uuid language sql as 'select call_id from billing.stripe_calls';
create function pause() returns interval language sql as
$$select next_attempt_at - billing_private.clock() from billing.postpone_stripe_call(id(), 'a time-out')$$;

select is(pause(), interval '5 seconds', 'before it was ever tried');
create temp table pauses as
select t as try, (billing.claim_stripe_call(id())).call_id as claimed, pause() as pause from generate_series(1, 12) t;
select is_empty('select try from pauses where claimed is null', 'who wants it at once may have it at once');
select is(
    (select string_agg(extract(epoch from pause)::int::text, ' ' order by try) from pauses),
    '10 20 40 80 160 320 640 1280 2560 3600 3600 3600', 'the pauses double up to an hour'
);
select rows_are(
    'select status, error, look_first, claimed_at, tries from billing.list_due_stripe_calls()', 'select 1 where false',
    'until then it is not due'
);
set local tap.now = '2025-03-10 13:00+00';
select rows_are(
    'select status, error, look_first, claimed_at, tries from billing.list_due_stripe_calls()',
    $$values ('pending', 'a time-out', false, null::timestamptz, 12)$$, 'then it is, and tells what happened'
);

-- What may have had its effect.

create function postpones(p_uncertain text) returns boolean language plpgsql as $$
declare
    v_look_first boolean;
begin
    execute format('select look_first from billing.postpone_stripe_call(id(), ''e'', %s)', p_uncertain) into v_look_first;
    return v_look_first;
end
$$;
select is(postpones('null'), false, 'null is no');
select is(postpones('true'), true, 'an uncertain try makes the next one look first');
select is(postpones('false'), true, 'a try that failed for certain does not change that');
select is((billing.postpone_stripe_call(id(), repeat('e', 3000))).error, repeat('e', 2000), 'an endless error is cut');

select billing.finish_stripe_call(id(), '{"id": "cus_a"}') \g /dev/null
select rows_are(
    $$select status, error, next_attempt_at from billing.postpone_stripe_call(id(), 'late', true)$$,
    $$values ('done', null, null::timestamptz)$$, 'a call that has ended stays as it is'
);
select throws_ok(
    format('select billing.postpone_stripe_call(%L, ''e'')', call), 'UC404', 'call_not_found',
    'there is no call ' || coalesce(call, 'null')
)
from unnest(array[nobody()::text, null]) call;

select * from finish();
rollback;
