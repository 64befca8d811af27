-- One batch, of one event unless p_limit says more: events lock accounts in no order, and two transactions with several
-- could wait for each other. An event that is due by p_at is applied; one that fails is put off, and the others go on: it
-- is told by alert_webhook_errors, not as a failure of the job. What an applied event asks of Stripe is left to the
-- worker.
-- Locks:  the events, and what they change, until commit.
-- Replay: an event that was applied is left as it is.
-- Raises: UC422 time_lies_ahead, limit_out_of_range.
create or replace function billing.retry_stripe_events(
    p_at    timestamptz default null,
    p_limit integer default 1,
    p_after jsonb default null
)
returns billing.job_step
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_at    timestamptz := billing_private.job_time(p_at);
    v_step  billing.job_step := (0, 0, null, null)::billing.job_step;
    v_event record;
    v_seen  integer := 0;
begin
    perform billing_private.check_limit(p_limit);
    for v_event in
        select event_id, next_attempt_at
        from billing.stripe_events
        where status = 'pending'
            and next_attempt_at <= v_at
            and (next_attempt_at, event_id) > (
                coalesce((p_after ->> 'due')::timestamptz, '-infinity'), coalesce(p_after ->> 'event_id', '')
            )
        order by next_attempt_at, event_id
        limit p_limit
    loop
        v_seen := v_seen + 1;
        begin
            perform billing.apply_stripe_event(v_event.event_id);
            v_step.rows := v_step.rows + 1;
        exception
            when sqlstate 'UC000' or data_exception or integrity_constraint_violation or lock_not_available
                or transaction_rollback
            then
                perform billing.fail_stripe_event(v_event.event_id, sqlerrm);
        end;
        if v_seen = p_limit then
            v_step.next := jsonb_build_object('due', v_event.next_attempt_at, 'event_id', v_event.event_id);
        end if;
    end loop;
    return v_step;
end
$$;

comment on function billing.retry_stripe_events(timestamptz, integer, jsonb) is
    'Applies a batch of webhook events that are due.';
revoke all on function billing.retry_stripe_events(timestamptz, integer, jsonb) from public;
grant execute on function billing.retry_stripe_events(timestamptz, integer, jsonb) to billing_api;
