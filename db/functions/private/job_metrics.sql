create or replace function billing_private.job_metrics(p_now timestamptz)
returns setof billing.metric
language sql
stable
as $$
    select m.name, jsonb_build_object('job_name', j.name), m.value
    from billing.list_jobs() j
    cross join lateral (
        values ('billing_job_enabled', j.enabled::integer::numeric),
            ('billing_job_failed', (j.last_outcome in ('failed', 'interrupted'))::integer::numeric),
            ('billing_job_running', (j.last_outcome = 'running')::integer::numeric),
            ('billing_job_last_success_timestamp_seconds', extract(epoch from j.succeeded_at)),
            ('billing_job_last_rows', j.last_rows::numeric),
            ('billing_job_last_seconds', extract(epoch from coalesce(j.last_finished_at, p_now) - j.last_started_at))
    ) m (name, value)
    where m.value is not null
$$;

comment on function billing_private.job_metrics(timestamptz) is 'Metrics of the jobs.';
revoke all on function billing_private.job_metrics(timestamptz) from public;
