-- Batch after batch, each committed, so that no account waits for long. With p_due, when it was to run by its schedule,
-- it does nothing when it is switched off or has run since. Not in a transaction: call it alone.
-- Locks:  the job's advisory lock, and what a batch locks, until that batch commits. A lock that is not to be had in two
--         seconds is left for the next run.
-- Raises: UC404 job_not_found, UC500 job_failed once the run is recorded.
create or replace procedure billing.run_job(p_name text, p_due timestamptz default null)
language plpgsql
as $$
declare
    v_run    billing.job_run;
    v_step   billing.job_step;
    v_detail text;
begin
    -- In a transaction block it ends here, before it holds anything.
    commit;
    v_run := billing.begin_job(p_name, p_due);
    commit;
    if v_run.run_id is null then
        raise notice 'Job % is running in another session, is switched off, or has run since %.', p_name, p_due;
    end if;
    while v_run.outcome = 'running' loop
        begin
            perform set_config('lock_timeout', '2s', true);
            if v_run.function is null then
                v_run := billing.end_job(v_run.run_id, 'The worker does this job: python -m scripts.worker --once');
            else
                execute format('select * from billing.%I(p_limit => $1, p_after => $2)', v_run.function)
                into v_step
                using v_run.batch_size, v_step.next;
                v_run := billing.note_job(v_run.run_id, v_step.rows, v_step.failures, v_step.error);
                if v_step.next is null then
                    v_run := billing.end_job(v_run.run_id);
                end if;
            end if;
        exception
            -- The one place that catches everything: a run that failed is recorded, whatever the reason.
            when query_canceled or others then
                get stacked diagnostics v_detail = pg_exception_detail;
                v_run := billing.end_job(
                    v_run.run_id, concat_ws(' ', sqlerrm, format('(%s)', sqlstate), nullif(v_detail, ''))
                );
        end;
        commit;
    end loop;
    if v_run.outcome = 'failed' then
        raise exception using
            errcode = 'UC500',
            message = 'job_failed',
            detail = format('Job %s: %s', p_name, v_run.error),
            hint = 'Its row in billing.job_runs tells how far it came; the next run goes on from there.';
    end if;
end
$$;

comment on procedure billing.run_job(text, timestamptz) is 'Runs a job, unless another session is at it.';
revoke all on procedure billing.run_job(text, timestamptz) from public;
grant execute on procedure billing.run_job(text, timestamptz) to billing_api;
