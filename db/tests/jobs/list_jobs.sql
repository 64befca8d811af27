-- The jobs, how the last run of each ended, and what is wrong with it.
\ir ../setup.psql
-- Alerts go by now().
select set_config('tap.now', now()::text, true) \g /dev/null
update billing.jobs set since = now() - interval '1 hour';

select rows_are(
    'select name, function, enabled from billing.list_jobs()',
    $$
    values ('checkpoint_ledger', 'checkpoint_ledger', true), ('clean_up', 'clean_up', true), ('deliver_events', null, false),
        ('expire_credits', 'expire_credits', true), ('missed_grants', 'grant_monthly_credits', true),
        ('monthly_grants', 'grant_monthly_credits', true), ('release_holds', 'release_expired_holds', true),
        ('retry_stripe_events', 'retry_stripe_events', true), ('stripe_calls', null, true)
    $$,
    'every job is listed, by name'
);
select is_empty(
    $$
    select name from billing.list_jobs()
    where function is not null and not exists (
        select from pg_proc p
        where p.pronamespace = 'billing'::regnamespace and p.proname = function
            and pg_get_function_arguments(p.oid) ~ '^p_at timestamp with time zone DEFAULT NULL::timestamp with time zone, '
                'p_limit integer DEFAULT \d+, p_after jsonb DEFAULT NULL::jsonb$'
            and p.prorettype = 'billing.job_step'::regtype
    )
    $$,
    'the function of each is there, and does a batch'
);
select rows_are(
    $$
    select schedule, batch_size, late_after, description <> '', last_started_at, last_outcome, succeeded_at, problem
    from billing.list_jobs() where name = 'monthly_grants'
    $$,
    $$values ('0 0 1 * *', 50, interval '32 days', true, null::timestamptz, null, null::timestamptz, null)$$,
    'R30: midnight UTC on the 1st; one that has not run yet is not late at once'
);

create function job(p_name text) returns text language sql as $$
    select concat_ws(
        ' ', now() - last_started_at, last_finished_at - last_started_at, last_outcome, last_rows, last_error,
        now() - succeeded_at, problem
    )
    from billing.list_jobs() where name = p_name
$$;
create function ran(p_name text, p_ago interval, p_outcome text) returns void language sql as $$
    insert into billing.job_runs (run_id, job, started_at, finished_at, outcome, rows, error)
    values (
        gen_random_uuid(), p_name, now() - p_ago, case when p_outcome <> 'running' then now() - p_ago + interval '3 s' end,
        p_outcome, 7, case when p_outcome = 'failed' then 'e' end
    )
$$;
select ran('expire_credits', '30 minutes', 'succeeded') \g /dev/null
select is(job('expire_credits'), '00:30:00 00:00:03 succeeded 7 00:30:00', 'one that has run');
select ran('expire_credits', '20 minutes', 'failed') \g /dev/null
select is(job('expire_credits'), '00:20:00 00:00:03 failed 7 e 00:30:00 failed', 'one whose last run failed');
select ran('expire_credits', '10 minutes', 'running') \g /dev/null
select is(
    job('expire_credits'), '00:10:00 running 7 00:30:00 failed',
    'while it runs again, what is known is of the run before'
);
select ran('expire_credits', '5 minutes', 'interrupted') \g /dev/null
select is(job('expire_credits'), '00:05:00 00:00:03 interrupted 7 00:30:00 interrupted', 'one that was interrupted');
select ran('expire_credits', '1 minute', 'succeeded') \g /dev/null
select is(job('expire_credits'), '00:01:00 00:00:03 succeeded 7 00:01:00', 'until one succeeds');
update billing.jobs set since = now() - interval '1 hour 1 second' where name in ('release_holds', 'clean_up');
select is(job('release_holds'), 'late', 'one that has never run is late after its time');
select is(job('clean_up'), '', 'which each has of its own');
select ran('release_holds', '15 minutes', 'succeeded') \g /dev/null
select is(job('release_holds'), '00:15:00 00:00:03 succeeded 7 00:15:00', 'within its time it is not late');
update billing.job_runs set started_at = started_at - interval '1 microsecond' where job = 'release_holds';
select alike(job('release_holds'), '% late', 'beyond it is');
select billing.set_job('release_holds', false) \g /dev/null
select unalike(job('release_holds'), '% late', 'one that is switched off is not');
select billing.set_job('release_holds', true) \g /dev/null
select unalike(job('release_holds'), '% late', 'nor one that was switched on just then');

select * from finish();
rollback;
