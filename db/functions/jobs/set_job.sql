-- For the owner of the database. What is null stays as it is. Where pg_cron runs the jobs: call billing.schedule_jobs()
-- after it.
-- Raises: UC404 job_not_found, UC422 invalid_schedule, limit_out_of_range.
create or replace function billing.set_job(
    p_name       text,
    p_enabled    boolean default null,
    p_schedule   text default null,
    p_batch_size integer default null,
    p_late_after interval default null
)
returns billing.job
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now timestamptz := billing_private.clock();
begin
    if p_batch_size is not null then
        perform billing_private.check_limit(p_batch_size);
    end if;
    begin
        update billing.jobs
        set since = case when p_enabled and not enabled then v_now else since end,
            enabled = coalesce(p_enabled, enabled),
            schedule = coalesce(p_schedule, schedule),
            batch_size = coalesce(p_batch_size, batch_size),
            late_after = coalesce(p_late_after, late_after)
        where name = p_name;
    exception
        when check_violation then
            perform billing_private.raise_error(
                'invalid_schedule', format('p_schedule is %L, p_late_after %L.', p_schedule, p_late_after)
            );
    end;
    if not found then
        perform billing_private.raise_error('job_not_found', format('There is no job %L.', p_name));
    end if;
    return (select j from billing.list_jobs() j where j.name = p_name);
end
$$;

comment on function billing.set_job(text, boolean, text, integer, interval) is
    'Switches a job on or off, or changes when it runs, how much it does at a time, and when it is late.';
revoke all on function billing.set_job(text, boolean, text, integer, interval) from public;
