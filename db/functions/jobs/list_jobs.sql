-- problem: late, failed or interrupted, as alert_jobs has it.
create or replace function billing.list_jobs()
returns setof billing.job
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return query
        select
            j.name, j.function, j.schedule, j.batch_size, j.enabled, j.late_after, j.description, r.started_at,
            r.finished_at, r.outcome, r.rows, r.error,
            (
                select s.started_at from billing.job_runs s
                where s.job = j.name and s.outcome = 'succeeded'
                order by s.started_at desc
                limit 1
            ),
            (select a.problem from billing.alert_jobs a where a.job = j.name)
        from billing.jobs j
        left join lateral (
            select * from billing.job_runs r where r.job = j.name order by r.started_at desc limit 1
        ) r on true
        order by j.name;
end
$$;

comment on function billing.list_jobs() is 'The jobs, and how their last runs ended.';
revoke all on function billing.list_jobs() from public;
grant execute on function billing.list_jobs() to billing_api, billing_monitor;
