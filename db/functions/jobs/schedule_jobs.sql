-- Call it again after a change of billing.jobs: it schedules what is new or changed, and unschedules what is gone or
-- switched off. Whoever calls it is who runs the jobs: a login that may execute the SQL API.
-- Raises: UC409 pg_cron_missing.
create or replace procedure billing.schedule_jobs()
language plpgsql
as $$
declare
    v_job  record;
    v_gone text;
begin
    if not exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
        raise exception using
            errcode = 'UC409',
            message = 'pg_cron_missing',
            detail = format('The extension pg_cron is not in database %I.', current_database()),
            hint = 'As a superuser: create extension pg_cron, in the database that cron.database_name says. Without it: '
                'python -m scripts.worker';
    end if;
    for v_job in select name, schedule from billing.list_jobs() where enabled and function is not null loop
        execute 'select cron.schedule($1, $2, $3)'
        using 'billing.' || v_job.name, v_job.schedule,
            format('call billing.run_job(%L, date_trunc(''minute'', now()))', v_job.name);
    end loop;
    for v_gone in
        execute 'select jobname from cron.job
            where jobname like ''billing.%'' and username = current_user and database = current_database()
                and not exists (
                    select from billing.list_jobs()
                    where enabled and function is not null and ''billing.'' || name = jobname
                )'
    loop
        execute 'select cron.unschedule($1)' using v_gone;
    end loop;
end
$$;

comment on procedure billing.schedule_jobs() is 'Makes pg_cron run the jobs, by the schedules that stand in billing.jobs.';
revoke all on procedure billing.schedule_jobs() from public;
grant execute on procedure billing.schedule_jobs() to billing_api;
