-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_job_runs(
    p_name   text default null,
    p_before timestamptz default null,
    p_limit  integer default 50
)
returns setof billing.job_run
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    return query
        select
            r.run_id, r.job, r.started_at, r.finished_at, r.outcome, r.rows, r.failures, r.error, j.function,
            j.batch_size
        from billing.job_runs r
        left join billing.jobs j on j.name = r.job
        where (p_name is null or r.job = p_name) and (p_before is null or r.started_at < p_before)
        order by r.started_at desc, r.run_id desc
        limit p_limit;
end
$$;

comment on function billing.list_job_runs(text, timestamptz, integer) is
    'Runs of one job or all, newest first, page by page.';
revoke all on function billing.list_job_runs(text, timestamptz, integer) from public;
grant execute on function billing.list_job_runs(text, timestamptz, integer) to billing_api, billing_monitor;
