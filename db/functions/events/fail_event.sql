-- Tried again after growing pauses, for about three days, while the events after it wait; p_retry_after, what the receiver
-- asked for, may only lengthen a pause. Then it is dead, until it is replayed, and those after it go on.
-- Locks:  the account, then the event, until commit.
-- Replay: an event that is not pending is returned as it is.
-- Raises: UC404 event_not_found.
create or replace function billing.fail_event(
    p_user_id     uuid,
    p_event_id    uuid,
    p_error       text,
    p_retry_after interval default null
)
returns billing.event
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_pauses constant interval[] := array[
        '5 seconds', '1 minute', '5 minutes', '30 minutes', '2 hours', '5 hours', '10 hours', '14 hours', '20 hours',
        '24 hours'
    ]::interval[];
    v_event billing.billing_events := billing_private.lock_event(p_user_id, p_event_id);
    v_now   timestamptz := billing_private.clock();
    v_pause interval := v_pauses[v_event.attempts + 1];
begin
    if v_event.status = 'pending' then
        update billing.billing_events
        set attempts = attempts + 1,
            error = left(p_error, 2000),
            status = case when v_pause is null then 'dead' else 'pending' end,
            next_attempt_at = case
                when v_pause is not null then v_now + greatest(
                    v_pause, case when p_retry_after is not null then least(p_retry_after, interval '24 hours') end
                )
            end
        where user_id = p_user_id and event_id = p_event_id
        returning * into v_event;
        perform billing_private.line_up_events(p_user_id, v_now);
    end if;
    return billing_private.as_event(v_event);
end
$$;

comment on function billing.fail_event(uuid, uuid, text, interval) is
    'Notes that delivering an event failed, and when it is tried again.';
revoke all on function billing.fail_event(uuid, uuid, text, interval) from public;
grant execute on function billing.fail_event(uuid, uuid, text, interval) to billing_api;
