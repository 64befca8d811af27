-- A run that could not do all of it has failed; when it has ended its job can run again.
\ir ../setup.psql

create function begun() returns uuid language sql as $$select run_id from billing.begin_job('expire_credits')$$;
-- That of the transaction stays until it ends; this is that of the session.
create function locked() returns boolean language sql as $$
    select pg_advisory_unlock(billing_private.job_lock('expire_credits'))
$$;
set local client_min_messages = error;
create function ended(p_run_id uuid, p_error text default null) returns text language sql as $$
    select concat_ws(' ', outcome, rows, failures, finished_at - started_at, error) from billing.end_job(p_run_id, p_error)
$$;

select begun() as run \gset
select billing.note_job(:'run', 5) \g /dev/null
set local tap.now = '2025-03-10 12:00:07+00';
select is(ended(:'run'), 'succeeded 5 0 00:00:07', 'all of it was done');
select ok(not locked(), 'the job is free');
set local tap.now = '2025-03-10 12:01+00';
select is(ended(:'run', 'late'), 'succeeded 5 0 00:00:07', 'what has ended stays as it is');

select begun() as run \gset
select billing.note_job(:'run', 5, 1, 'one could not') \g /dev/null
select is(ended(:'run'), 'failed 5 1 00:00:00 one could not', 'one that could not be done is a failure');
select begun() as run \gset
select billing.note_job(:'run', 5) \g /dev/null
select is(ended(:'run', 'disk full'), 'failed 5 0 00:00:00 disk full', 'and so is an error');
select begun() as run \gset
select billing.note_job(:'run', 5, 1, 'one could not') \g /dev/null
select is(ended(:'run', 'disk full'), E'failed 5 1 00:00:00 disk full\none could not', 'what stopped it is told first');
select begun() as run \gset
select is(length((billing.end_job(:'run', repeat('e', 3000))).error), 2000, 'an endless error is cut');
select begun() as run \gset
set local tap.now = '2025-03-10 11:00+00';
select is(ended(:'run'), 'succeeded 0 0 00:00:00', 'no run ends before it began');
select is((billing.end_job(nobody())).run_id, null, 'there is no such run');

select * from finish();
rollback;
