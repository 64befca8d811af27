-- Of jobs that the worker does itself: many workers may be at one at a time, so there is no lock.
-- Raises: UC404 job_not_found.
create or replace function billing.record_job_run(
    p_name       text,
    p_started_at timestamptz,
    p_rows       bigint,
    p_failures   bigint default 0,
    p_error      text default null
)
returns billing.job_run
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now    timestamptz := billing_private.clock();
    v_start  timestamptz := least(p_started_at, v_now);
    v_run_id uuid := billing_private.time_ordered_id(v_start);
begin
    if not exists (select from billing.jobs where name = p_name) then
        perform billing_private.raise_error('job_not_found', format('There is no job %L.', p_name));
    end if;
    insert into billing.job_runs (run_id, job, started_at, finished_at, outcome, rows, failures, error)
    values (
        v_run_id, p_name, v_start, v_now, case when p_error is null and p_failures = 0 then 'succeeded' else 'failed' end,
        p_rows, p_failures, left(p_error, 2000)
    );
    return billing_private.as_job_run(v_run_id);
end
$$;

comment on function billing.record_job_run(text, timestamptz, bigint, bigint, text) is
    'Records a run of a job that the worker did itself.';
revoke all on function billing.record_job_run(text, timestamptz, bigint, bigint, text) from public;
grant execute on function billing.record_job_run(text, timestamptz, bigint, bigint, text) to billing_api;
