-- For billing.run_job and the worker. A row of nulls is the answer when there is nothing to do: another session runs the
-- job; or, with p_due (when it was to run), it is switched off or has run since. A run that its session left behind does
-- not count, and is noted as interrupted.
-- Locks:  the job's advisory lock, until end_job or the end of the session.
-- Raises: UC404 job_not_found.
create or replace function billing.begin_job(p_name text, p_due timestamptz default null)
returns billing.job_run
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now    timestamptz := billing_private.clock();
    v_run_id uuid := billing_private.time_ordered_id(v_now);
    v_job    billing.jobs;
begin
    select * into v_job from billing.jobs where name = p_name;
    if not found then
        perform billing_private.raise_error('job_not_found', format('There is no job %L.', p_name));
    elsif p_due is not null and not v_job.enabled then
        return null;
    elsif not pg_try_advisory_xact_lock(billing_private.job_lock(p_name)) then
        return null;
    end if;
    -- Waits for a run that is ending at this moment, so that what comes after sees how it ended.
    update billing.job_runs
    set outcome = 'interrupted', finished_at = v_now, error = coalesce(error, 'Its session ended.')
    where job = p_name and outcome = 'running';
    if exists (
        select from billing.job_runs
        where job = p_name and started_at >= p_due and outcome in ('succeeded', 'failed')
    ) then
        return null;
    end if;
    insert into billing.job_runs (run_id, job, started_at) values (v_run_id, p_name, v_now);
    -- The lock of the session, which is had at once beside that of the transaction, comes last: no error leaves it behind.
    perform pg_advisory_lock(billing_private.job_lock(p_name));
    return billing_private.as_job_run(v_run_id);
end
$$;

comment on function billing.begin_job(text, timestamptz) is 'Begins a run of a job, unless another session is at it.';
revoke all on function billing.begin_job(text, timestamptz) from public;
grant execute on function billing.begin_job(text, timestamptz) to billing_api;
