-- One batch of one table at a time. Nothing of the ledger, the admin log, purchases and refunds is ever deleted.
-- Locks:  the rows that are deleted, until commit.
-- Raises: UC422 time_lies_ahead, limit_out_of_range.
create or replace function billing.clean_up(
    p_at    timestamptz default null,
    p_limit integer default 500,
    p_after jsonb default null
)
returns billing.job_step
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_before timestamptz := billing_private.job_time(p_at)
        - (select make_interval(secs => extract(epoch from retention)) from billing.billing_settings);
    v_table  text := coalesce(p_after ->> 'table', 'job_runs');
    v_step   billing.job_step := (0, 0, null, null)::billing.job_step;
begin
    perform billing_private.check_limit(p_limit);
    case v_table
        when 'job_runs' then
            delete from billing.job_runs
            where run_id in (
                select run_id from billing.job_runs
                where started_at < v_before and outcome <> 'running'
                order by started_at
                limit p_limit
            );
            get diagnostics v_step.rows = row_count;
            v_step.next := jsonb_build_object('table', case when v_step.rows < p_limit then 'stripe_events' else v_table end);
        when 'stripe_events' then
            delete from billing.stripe_events
            where event_id in (
                select event_id from billing.stripe_events
                where received_at < v_before and status in ('processed', 'ignored')
                order by received_at
                limit p_limit
            );
            get diagnostics v_step.rows = row_count;
            v_step.next := jsonb_build_object('table', case when v_step.rows < p_limit then 'billing_events' else v_table end);
        when 'billing_events' then
            v_step := billing_private.clean_up_events(v_before, p_limit, p_after);
            v_step.next := coalesce(v_step.next, '{}') || jsonb_build_object(
                'table', case when v_step.next is null then 'ledger_heads' else v_table end
            );
        when 'ledger_heads' then
            v_step := billing_private.clean_up_heads(p_limit, p_after);
            v_step.next := v_step.next || jsonb_build_object('table', v_table);
    end case;
    return v_step;
end
$$;

comment on function billing.clean_up(timestamptz, integer, jsonb) is
    'Deletes a batch of what is older than the retention of the settings and nothing waits for.';
revoke all on function billing.clean_up(timestamptz, integer, jsonb) from public;
grant execute on function billing.clean_up(timestamptz, integer, jsonb) to billing_api;
