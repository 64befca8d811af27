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
    v_due_at   timestamptz;
    v_delivers boolean := (select enabled from billing.jobs where name = 'deliver_events');
    v_event_no bigint := 1 + coalesce(
        (select max(event_no) from billing.billing_events where user_id = p_user_id), 0::bigint
    );
begin
    if v_delivers then
        -- With its lock: in a transaction with an older snapshot (REPEATABLE READ) this fails instead of waiting behind
        -- an event that is delivered by now.
        perform from billing.billing_events
        where user_id = p_user_id and status = 'pending'
        order by event_no
        limit 1
        for share;
        v_due_at := case when not found then p_now end;
    end if;
    insert into billing.billing_events (
        user_id, event_id, event_no, kind, payload, status, next_attempt_at, created_at, pending_since
    )
    values (
        p_user_id, v_event_id, v_event_no, p_kind, jsonb_strip_nulls(p_payload),
        case when v_delivers then 'pending' else 'kept' end, v_due_at, p_now, case when v_delivers then p_now end
    );
    if v_delivers then
        perform pg_notify('billing_events', '');
    end if;
end
$$;

comment on function billing_private.emit_event(uuid, timestamptz, text, jsonb) is
    'Records an event of a user, to be delivered after those before it.';
revoke all on function billing_private.emit_event(uuid, timestamptz, text, jsonb) from public;
