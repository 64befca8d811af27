-- What the worker did itself is on the list of runs too.
\ir ../setup.psql

select rows_are(
    $$
    select job, started_at, finished_at, outcome, rows, failures, error, function, batch_size
    from billing.record_job_run('deliver_events', '2025-03-10 11:59:30+00', 7)
    $$,
    $$
    values (
        'deliver_events', '2025-03-10 11:59:30+00'::timestamptz, '2025-03-10 12:00+00'::timestamptz, 'succeeded', 7, 0,
        null, null, 100
    )
    $$,
    'a run that did it all'
);
select rows_are(
    $$select outcome, rows, failures, error from billing.record_job_run('deliver_events', '2025-03-10 11:59+00', 7, 2, 'e')$$,
    $$values ('failed', 7, 2, 'e')$$, 'one that could not'
);
select is(
    (billing.record_job_run('deliver_events', '2025-03-10 11:59+00', 0, 0, 'e')).outcome, 'failed',
    'nor get that far'
);
select is(
    (billing.record_job_run('deliver_events', '2025-03-10 12:00:01+00', 0)).started_at, '2025-03-10 12:00+00',
    'a worker whose clock is ahead began now'
);
select is(
    length((billing.record_job_run('deliver_events', '2025-03-10 11:59+00', 0, 0, repeat('e', 3000))).error), 2000,
    'an endless error is cut'
);
select is((select count(*) from billing.job_runs), 5::bigint, 'each is a run of its own');
select is_empty(
    'select from pg_locks where locktype = ''advisory'' and pid = pg_backend_pid()',
    'many workers may be at it: there is no lock'
);
select throws_ok(
    format('select billing.record_job_run(%L, now(), 1)', name), 'UC404', 'job_not_found',
    'there is no job ' || coalesce(name, 'null')
)
from unnest(array['make_money', null]) name;

select * from finish();
rollback;
