-- A job runs batch after batch, each committed, and its run is recorded, whatever becomes of it.

-- It commits, so it runs in another session, which is to see this: the database is this test's alone.
begin;
create extension dblink schema pgtap;
insert into billing.credit_accounts (user_id, tier, granted_through, created_at, updated_at)
select ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'free', '2020-01-01', '2020-01-01', '2020-01-01'
from generate_series(1, 5) n;
update billing.credit_accounts set balance = 1000000000000000 where user_id = '00000000-0000-0000-0000-000000000003';
update billing.jobs set batch_size = 2 where name = 'monthly_grants';
-- Fails as no batch foresees.
update billing.jobs set function = 'no_such_function' where name = 'clean_up';
commit;

begin;
select * from no_plan();
-- Calls the procedure in a session of its own, as billing_api.
create function call(p_arguments text) returns text language plpgsql as $$
begin
    return format(
        'select pgtap.dblink_exec(%L, %L)',
        format(
            'host=127.0.0.1 port=%s dbname=%I user=postgres options=''-c role=billing_api''', current_setting('port'),
            current_database()
        ),
        format('call billing.run_job(%s)', p_arguments)
    );
end
$$;
create function last_run(p_name text) returns text language sql as $$
    select concat_ws(' ', outcome, rows, failures, error)
    from billing.job_runs where job = p_name order by started_at desc limit 1
$$;
create function runs(p_name text) returns bigint language sql as
$$select count(*) from billing.job_runs where job = p_name$$;

select throws_ok(
    $$call billing.run_job('clean_up')$$, '2D000', 'invalid transaction termination', 'not in a transaction'
);
select is_empty('select from billing.job_runs', 'nothing has run then');
select is_empty(
    $$select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()$$, 'and no lock is left behind'
);
select throws_ok(call(name), 'UC404', 'job_not_found', 'there is no job ' || name)
from unnest(array['''make_money''', 'null']) name;

select throws_ok(call('''monthly_grants'''), 'UC500', 'job_failed', 'one account cannot be granted: the run fails');
select is(
    last_run('monthly_grants'), 'failed 4 1 User 00000000-0000-0000-0000-000000000003: amount_too_large',
    'R09: the other four were granted, in three batches, and the run tells which one was not'
);
select is((select count(*) from billing.credit_ledger where type = 'tier_grant'), 4::bigint, 'all of it is committed');
update billing.credit_accounts set balance = 0 where user_id = '00000000-0000-0000-0000-000000000003';
commit;

begin;
select lives_ok(call('''monthly_grants'''), 'when that is mended the next run does not fail');
select is(last_run('monthly_grants'), 'succeeded 1 0', 'and does what was left');
select lives_ok(
    call('''monthly_grants'', now() - interval ''1 minute'''), 'that it has run since it was due is no error'
);
select is(runs('monthly_grants'), 2::bigint, 'nor a run');
select lives_ok(call('''monthly_grants'', now()'), 'the next time it is due');
select is(runs('monthly_grants'), 3::bigint, 'it runs');
select is(last_run('monthly_grants'), 'succeeded 0 0', 'though nothing is left to do');
select lives_ok(call('''deliver_events'', now()'), 'one that is switched off is no error');
select is(runs('deliver_events'), 0::bigint, 'nor a run');

select throws_ok(call('''clean_up'''), 'UC500', 'job_failed', 'R09: an error that nobody foresaw is an error');
select matches(
    last_run('clean_up'), '^failed 0 0 function billing\.no_such_function\(.*\) does not exist \(42883\)$',
    'and recorded'
);
select throws_ok(call('''stripe_calls'''), 'UC500', 'job_failed', 'what the worker does is not done here');
select matches(last_run('stripe_calls'), '^failed 0 0 .*scripts\.worker', 'it says by whom');
select lives_ok(call('''expire_credits'''), 'the other jobs run');
select is(last_run('expire_credits'), 'succeeded 0 0', 'whatever failed before');
select is_empty($$select from pg_locks where locktype = 'advisory'$$, 'no lock is left');

select * from finish();
rollback;
