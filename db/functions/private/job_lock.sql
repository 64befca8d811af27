create or replace function billing_private.job_lock(p_name text)
returns bigint
language sql
immutable
as $$
    select pg_catalog.hashtextextended('billing.jobs.' || p_name, 0)
$$;

comment on function billing_private.job_lock(text) is 'The key of the advisory lock under which a job runs.';
revoke all on function billing_private.job_lock(text) from public;
