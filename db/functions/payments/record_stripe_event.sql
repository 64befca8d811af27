-- Stored before it is applied, whatever it is. A type that means nothing to us is stored as ignored.
-- Replay: an event that is known is returned as it is.
-- Raises: UC400 invalid_request.
create or replace function billing.record_stripe_event(p_event jsonb)
returns billing.stripe_event
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now   timestamptz := billing_private.clock();
    v_known boolean := billing_private.is_known_event(p_event ->> 'type');
begin
    if (
        p_event ->> 'object' = 'event' and p_event ->> 'id' ~ '^\S{1,200}$' and p_event ->> 'type' ~ '\S'
        and p_event ->> 'created' ~ '^\d{1,12}$' and jsonb_typeof(p_event #> '{data,object}') = 'object'
    ) is not true then
        perform billing_private.raise_error('invalid_request', 'p_event must be an Event of Stripe.');
    end if;
    insert into billing.stripe_events (
        event_id, type, payload, status, next_attempt_at, emitted_at, received_at, processed_at
    )
    values (
        p_event ->> 'id', p_event ->> 'type', p_event, case when v_known then 'pending' else 'ignored' end,
        case when v_known then v_now + interval '30 seconds' end, to_timestamp((p_event ->> 'created')::bigint), v_now,
        case when not v_known then v_now end
    )
    on conflict do nothing;
    return billing_private.as_stripe_event(billing_private.read_stripe_event(p_event ->> 'id'));
end
$$;

comment on function billing.record_stripe_event(jsonb) is
    'Stores a webhook event, once.';
revoke all on function billing.record_stripe_event(jsonb) from public;
grant execute on function billing.record_stripe_event(jsonb) to billing_api;
