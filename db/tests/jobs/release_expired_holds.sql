-- R26: a hold that nobody ended ends by itself, and what it reserved is free; once, and never what was captured.
\ir ../setup.psql

create function run(p_limit int default 50, p_at timestamptz default null) returns text language plpgsql as $$
declare
    v_step  billing.job_step;
    v_steps int := 0;
    v_rows  bigint := 0;
begin
    loop
        v_step := billing.release_expired_holds(p_at, p_limit, v_step.next);
        v_steps := v_steps + 1;
        v_rows := v_rows + v_step.rows;
        exit when v_step.next is null;
    end loop;
    return concat_ws(' ', v_steps, 'steps', v_rows, 'rows', v_step.failures, v_step.error);
end
$$;
create function holds(p_user_id uuid) returns text language sql as $$
    select string_agg(
        concat_ws(' ', idempotency_key, status, to_char(ended_at at time zone 'UTC', 'HH24:MI')), ', '
        order by idempotency_key
    )
    from billing.credit_holds where user_id = p_user_id
$$;
select billing.open_account(u) from unnest(array[a(), b(), c(), d()]) u \g /dev/null
select billing.hold_credits(a(), 1, '10 minutes', p_idempotency_key => k) from unnest(array['1', '2']) k \g /dev/null
select billing.hold_credits(a(), 1, '1 hour', p_idempotency_key => '3') \g /dev/null
select billing.hold_credits(b(), 1, '20 minutes', p_idempotency_key => '1') \g /dev/null
select billing.hold_credits(c(), 1, '10 minutes', p_idempotency_key => '1') \g /dev/null
select billing.capture_hold(c(), hold_id, 0.5) from billing.credit_holds where user_id = c() \g /dev/null
select billing.hold_credits(d(), 1, '10 minutes', p_idempotency_key => '1') \g /dev/null
select billing.release_hold(d(), hold_id) from billing.credit_holds where user_id = d() \g /dev/null

set local tap.now = '2025-03-10 12:09:59.999999+00';
select is(run(), '1 steps 0 rows 0', 'not before its time');
set local tap.now = '2025-03-10 12:30+00';
select is(run(50, '2025-03-10 12:09+00'), '1 steps 0 rows 0', 'nor as of before its time');
select is(run(1, '2025-03-10 12:10+00'), '2 steps 1 rows 0', 'as of a time gone by, those that were due then');
select is(
    holds(a()), '1 expired 12:10, 2 expired 12:10, 3 active',
    'they ended when their time came; one is still live'
);
select is((select held from billing.credit_accounts where user_id = a()), 1.0, 'and what they reserved is free');
select is(holds(b()), '1 active', 'another was due later');
select is(run(1), '2 steps 1 rows 0', 'and is, by now');
select is(holds(b()), '1 expired 12:20', 'all that are due');
select is(run(), '1 steps 0 rows 0', 'a second run finds nothing');
select is(holds(c()), '1 captured 12:00', 'one that was captured stays captured');
select rows_are(
    'select balance, held from billing.credit_accounts where user_id = c()', 'values (4.5, 0)', 'and gives nothing back'
);
select is(holds(d()), '1 released 12:00', 'one that was released stays released');
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');
select is(
    (select count(*) from billing.billing_events where kind <> 'credits.granted'), 0::bigint,
    'the end of a hold is no event: no balance has changed'
);
select throws_ok(
    format('select billing.release_expired_holds(%L)', at), 'UC422', 'time_lies_ahead', 'not before its time: ' || at
)
from unnest(array['2025-03-10 12:30:00.000001+00', 'infinity']) at;
select throws_ok(
    format('select billing.release_expired_holds(p_limit => %s)', page), 'UC422', 'limit_out_of_range',
    'a batch of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
