-- Locks:  the account, then the event, until commit.
-- Replay: an event that is not pending is returned as it is.
-- Raises: UC404 event_not_found.
create or replace function billing.finish_event(p_user_id uuid, p_event_id uuid)
returns billing.event
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_event billing.billing_events := billing_private.lock_event(p_user_id, p_event_id);
    v_now   timestamptz := billing_private.clock();
begin
    if v_event.status = 'pending' then
        update billing.billing_events
        set status = 'delivered', delivered_at = v_now, next_attempt_at = null, error = null
        where user_id = p_user_id and event_id = p_event_id
        returning * into v_event;
        perform billing_private.line_up_events(p_user_id, v_now);
    end if;
    return billing_private.as_event(v_event);
end
$$;

comment on function billing.finish_event(uuid, uuid) is 'Notes that an event was delivered; the next one of the user follows.';
revoke all on function billing.finish_event(uuid, uuid) from public;
grant execute on function billing.finish_event(uuid, uuid) to billing_api;
