-- Runs, newest first, page by page.
\ir ../setup.psql

select billing.record_job_run(job, '2025-03-10 11:50+00'::timestamptz + n * interval '1 minute', n)
from generate_series(1, 3) n, unnest(array['stripe_calls', 'deliver_events']) job \g /dev/null
insert into billing.job_runs (run_id, job, started_at) values (nobody(), 'a_job_that_is_gone', '2025-03-10 11:55+00');
select rows_are(
    $$select job, rows, outcome, failures, error, function, batch_size from billing.list_job_runs('stripe_calls')$$,
    $$
    values ('stripe_calls', 3, 'succeeded', 0, null, null, 100), ('stripe_calls', 2, 'succeeded', 0, null, null, 100),
        ('stripe_calls', 1, 'succeeded', 0, null, null, 100)
    $$,
    'of one job'
);
select rows_are(
    'select run_id, job, finished_at, outcome, function from billing.list_job_runs(p_limit => 1)',
    $$values (nobody(), 'a_job_that_is_gone', null::timestamptz, 'running', null)$$,
    'or of all, those of jobs that are gone too'
);
select is((select count(*) from billing.list_job_runs()), 7::bigint, 'all of them');
select rows_are(
    $$select rows from billing.list_job_runs('stripe_calls', '2025-03-10 11:53+00', 1)$$, 'values (2)',
    'a page after another'
);
select is_empty($$select from billing.list_job_runs('make_money')$$, 'there is no such job');
select throws_ok(
    format('select billing.list_job_runs(p_limit => %s)', page), 'UC422', 'limit_out_of_range', 'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
