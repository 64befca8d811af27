create or replace function billing_private.as_event(p_event billing.billing_events)
returns billing.event
language sql
immutable
as $$
    select (
        p_event.user_id, p_event.event_id, p_event.event_no, p_event.kind, p_event.payload, p_event.status,
        p_event.attempts, p_event.next_attempt_at, p_event.error, p_event.created_at, p_event.delivered_at
    )::billing.event
$$;

comment on function billing_private.as_event(billing.billing_events) is 'An event as the SQL API tells it.';
revoke all on function billing_private.as_event(billing.billing_events) from public;
