-- Whoever gets the row is to deliver it, and has two minutes for it. A row of nulls is the answer when somebody else has
-- it, or it is not its turn.
-- Locks:  the event, until commit.
-- Raises: UC404 event_not_found.
create or replace function billing.claim_event(p_user_id uuid, p_event_id uuid)
returns billing.event
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_event billing.billing_events;
    v_now   timestamptz;
begin
    select * into v_event
    from billing.billing_events
    where user_id = p_user_id and event_id = p_event_id
    for no key update;
    if not found then
        perform billing_private.raise_error(
            'event_not_found', format('User %s has no event %s.', p_user_id, p_event_id)
        );
    end if;
    v_now := billing_private.clock();
    if (v_event.next_attempt_at <= v_now) is not true then
        return null;
    end if;
    v_event.next_attempt_at := v_now + interval '2 minutes';
    update billing.billing_events
    set next_attempt_at = v_event.next_attempt_at
    where user_id = p_user_id and event_id = p_event_id;
    return billing_private.as_event(v_event);
end
$$;

comment on function billing.claim_event(uuid, uuid) is 'Takes the delivery of an event for oneself.';
revoke all on function billing.claim_event(uuid, uuid) from public;
grant execute on function billing.claim_event(uuid, uuid) to billing_api;
