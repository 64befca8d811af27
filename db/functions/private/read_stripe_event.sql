-- Raises: UC404 event_not_found.
create or replace function billing_private.read_stripe_event(p_event_id text)
returns billing.stripe_events
language plpgsql
stable
as $$
declare
    v_event billing.stripe_events;
begin
    select * into v_event from billing.stripe_events where event_id = p_event_id;
    if not found then
        perform billing_private.raise_error('event_not_found', format('There is no event %L.', p_event_id));
    end if;
    return v_event;
end
$$;

comment on function billing_private.read_stripe_event(text) is 'A webhook event, as it is stored.';
revoke all on function billing_private.read_stripe_event(text) from public;
