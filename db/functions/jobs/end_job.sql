-- A run that could not do all of it has failed: with p_error, or with what its batches noted.
create or replace function billing.end_job(p_run_id uuid, p_error text default null)
returns billing.job_run
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now timestamptz := billing_private.clock();
    v_run billing.job_run;
begin
    update billing.job_runs
    set outcome = case when p_error is null and failures = 0 then 'succeeded' else 'failed' end,
        error = left(nullif(concat_ws(E'\n', p_error, error), ''), 2000),
        finished_at = greatest(v_now, started_at)
    where run_id = p_run_id and outcome = 'running';
    v_run := billing_private.as_job_run(p_run_id);
    if v_run.job is not null then
        perform pg_advisory_unlock(billing_private.job_lock(v_run.job));
    end if;
    return v_run;
end
$$;

comment on function billing.end_job(uuid, text) is 'Ends a run of a job; it has failed when there is an error.';
revoke all on function billing.end_job(uuid, text) from public;
grant execute on function billing.end_job(uuid, text) to billing_api;
