-- After each batch, so that a run can be watched, and tells how far it came when it is cut off.
create or replace function billing.note_job(
    p_run_id   uuid,
    p_rows     bigint,
    p_failures bigint default 0,
    p_error    text default null
)
returns billing.job_run
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    update billing.job_runs
    set rows = rows + coalesce(p_rows, 0),
        failures = failures + coalesce(p_failures, 0),
        error = left(nullif(concat_ws(E'\n', error, p_error), ''), 2000)
    where run_id = p_run_id and outcome = 'running';
    return billing_private.as_job_run(p_run_id);
end
$$;

comment on function billing.note_job(uuid, bigint, bigint, text) is 'Adds to a run what one of its batches did.';
revoke all on function billing.note_job(uuid, bigint, bigint, text) from public;
grant execute on function billing.note_job(uuid, bigint, bigint, text) to billing_api;
