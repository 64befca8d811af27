-- The caller holds the lock of the user's account, so numbers have no gaps and an event that follows an undelivered one
-- waits for it. The worker is woken when this commits.
create or replace function billing_private.emit_event(
    p_user_id uuid,
    p_now     timestamptz,
    p_kind    text,
    p_payload jsonb
)
returns void
language plpgsql
as $$
declare
    v_event_id uuid := billing_private.time_ordered_id(p_now);
    v_delivers boolean := (select enabled from billing.jobs where name = 'deliver_events');
    v_event_no bigint := 1 + coalesce(
        (select max(event_no) from billing.billing_events where user_id = p_user_id), 0::bigint
    );
    v_waits    boolean := v_delivers and exists (
        select from billing.billing_events where user_id = p_user_id and status = 'pending'
    );
begin
    insert into billing.billing_events (
        user_id, event_id, event_no, kind, payload, status, next_attempt_at, created_at
    )
    values (
        p_user_id, v_event_id, v_event_no, p_kind, jsonb_strip_nulls(p_payload),
        case when v_delivers then 'pending' else 'kept' end, case when v_delivers and not v_waits then p_now end, p_now
    );
    if v_delivers then
        perform pg_notify('billing_events', '');
    end if;
end
$$;

comment on function billing_private.emit_event(uuid, timestamptz, text, jsonb) is
    'Records an event of a user, to be delivered after those before it.';
revoke all on function billing_private.emit_event(uuid, timestamptz, text, jsonb) from public;
