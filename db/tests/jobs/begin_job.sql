-- A run begins once at a time, and with the time it was due once; what a session left behind is noted.
\ir ../setup.psql

select rows_are(
    $$
    select job, started_at, finished_at, outcome, rows, failures, error, function, batch_size
    from billing.begin_job('expire_credits')
    $$,
    $$
    values (
        'expire_credits', '2025-03-10 12:00+00'::timestamptz, null::timestamptz, 'running', 0, 0, null,
        'expire_credits', 50
    )
    $$,
    'a run, and what it is to do'
);
select rows_are(
    $$select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted$$, 'values (1)',
    'this session has the lock of the job'
);
set local tap.now = '2025-03-10 12:01+00';
select is(
    (billing.begin_job('expire_credits')).outcome, 'running',
    'this session had it: the run before cannot be alive'
);
select rows_are(
    $$
    select started_at, outcome, finished_at, error from billing.job_runs
    where job = 'expire_credits' order by started_at
    $$,
    $$
    values
        ('2025-03-10 12:00+00'::timestamptz, 'interrupted', '2025-03-10 12:01+00'::timestamptz, 'Its session ended.'),
        ('2025-03-10 12:01+00', 'running', null, null)
    $$,
    'it is noted as interrupted'
);

-- With the time at which it was to run.

select is((billing.begin_job('clean_up', '2025-03-10 12:01+00')).outcome, 'running', 'it has not run since: it runs');
select is(
    (select count(*) from billing.job_runs where job = 'clean_up'), 1::bigint, 'once'
);
select is(
    (billing.begin_job('clean_up', '2025-03-10 12:01+00')).outcome, 'running', 'a run that was cut off does not count'
);
select billing.end_job(run_id) from billing.job_runs where job = 'clean_up' and outcome = 'running' \g /dev/null
select is((billing.begin_job('clean_up', '2025-03-10 12:01+00')).run_id, null, 'it has run since then');
select is((billing.begin_job('clean_up', '2025-03-10 12:00+00')).run_id, null, 'or since a time before');
set local tap.now = '2025-03-10 12:02+00';
select is(
    (billing.begin_job('clean_up', '2025-03-10 12:01:30+00')).outcome, 'running',
    'the next time it was due it runs again'
);
select is(
    (select string_agg(outcome, ', ' order by started_at, outcome) from billing.job_runs where job = 'clean_up'),
    'interrupted, succeeded, running', 'a run is a run'
);
select billing.set_job('clean_up', false) \g /dev/null
set local tap.now = '2025-03-10 12:03+00';
select is(
    (billing.begin_job('clean_up', '2025-03-10 12:03+00')).run_id, null,
    'one that is switched off does not run by its schedule'
);
select is((billing.begin_job('clean_up')).outcome, 'running', 'but by hand');
select is((billing.begin_job('stripe_calls')).function, null, 'one that the worker does itself has no function');
select throws_ok(
    format('select billing.begin_job(%L)', name), 'UC404', 'job_not_found', 'there is no job ' || coalesce(name, 'null')
)
from unnest(array['make_money', '', null]) name;

-- Another session.

create extension dblink schema pgtap;
select pgtap.dblink_connect(
    'other', format('host=127.0.0.1 port=%s dbname=%I user=postgres', current_setting('port'), current_database())
) \g /dev/null
create function other(p_call text) returns text language sql as
$$select outcome from pgtap.dblink('other', 'select outcome from ' || p_call) r (outcome text)$$;
select is(
    other($$billing.begin_job('expire_credits')$$), null,
    'another session does not get a job that this one is at'
);
select is(other($$billing.begin_job('release_holds')$$), 'running', 'but another job');
select is((billing.begin_job('release_holds')).run_id, null, 'which this one does not get then');
select pgtap.dblink_disconnect('other') \g /dev/null
-- Until the server has noticed that the other one is gone.
select pg_advisory_lock(billing_private.job_lock('release_holds')) \g /dev/null
select is((billing.begin_job('release_holds')).outcome, 'running', 'until its session ends');
select is(
    (select string_agg(outcome, ', ' order by started_at desc) from billing.job_runs where job = 'release_holds'),
    'interrupted, running', 'and its run was interrupted'
);

select * from finish();
rollback;
