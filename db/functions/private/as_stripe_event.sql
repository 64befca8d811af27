create or replace function billing_private.as_stripe_event(
    p_event   billing.stripe_events,
    p_call_id uuid default null
)
returns billing.stripe_event
language sql
immutable
as $$
    select (
        p_event.event_id, p_event.type, p_event.status, p_event.attempts, p_event.error, p_event.next_attempt_at,
        p_event.emitted_at, p_event.received_at, p_event.processed_at, p_call_id
    )::billing.stripe_event
$$;

comment on function billing_private.as_stripe_event(billing.stripe_events, uuid) is
    'A webhook event as the SQL API tells it.';
revoke all on function billing_private.as_stripe_event(billing.stripe_events, uuid) from public;
