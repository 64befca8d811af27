-- Locks:  the account, then the event, until commit: what comes after it is told in this order too.
-- Raises: UC404 event_not_found.
create or replace function billing_private.lock_event(p_user_id uuid, p_event_id uuid)
returns billing.billing_events
language plpgsql
as $$
declare
    v_event billing.billing_events;
begin
    perform from billing.credit_accounts where user_id = p_user_id for no key update;
    select * into v_event
    from billing.billing_events
    where user_id = p_user_id and event_id = p_event_id
    for no key update;
    if not found then
        perform billing_private.raise_error(
            'event_not_found', format('User %s has no event %s.', p_user_id, p_event_id)
        );
    end if;
    return v_event;
end
$$;

comment on function billing_private.lock_event(uuid, uuid) is 'An event of a user, locked.';
revoke all on function billing_private.lock_event(uuid, uuid) from public;
