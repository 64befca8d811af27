create or replace function billing_private.as_job_run(p_run_id uuid)
returns billing.job_run
language plpgsql
stable
as $$
begin
    return (
        select (
            r.run_id, r.job, r.started_at, r.finished_at, r.outcome, r.rows, r.failures, r.error, j.function,
            j.batch_size
        )::billing.job_run
        from billing.job_runs r
        left join billing.jobs j on j.name = r.job
        where r.run_id = p_run_id
    );
end
$$;

comment on function billing_private.as_job_run(uuid) is 'A run as the SQL API tells it.';
revoke all on function billing_private.as_job_run(uuid) from public;
