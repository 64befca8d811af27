-- For whoever is on call: dead events by default; pending ones, which are then tried at once and not after their pause; or
-- kept or delivered ones, which a receiver that knows their ids takes for repeats. Of one user or all (pending and
-- delivered ones of one user only), of a stretch of time or all of it; 500 users at a time: call it until it says 0.
-- Replayed events are delivered before those that wait already, in their old order.
-- Locks:  the accounts, in the order of their ids, then their events, until commit.
-- Raises: UC400 invalid_request, UC422 unknown_status.
create or replace function billing.replay_events(
    p_status  text default 'dead',
    p_user_id uuid default null,
    p_from    timestamptz default null,
    p_to      timestamptz default null,
    p_kind    text default null
)
returns billing.event_count
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now     timestamptz := billing_private.clock();
    v_result  billing.event_count := ('pending', 0)::billing.event_count;
    v_rows    bigint;
    v_user_id uuid;
begin
    if (p_status in ('dead', 'kept', 'pending', 'delivered')) is not true then
        perform billing_private.raise_error(
            'unknown_status', format('p_status is %L: name dead, kept, pending or delivered.', p_status)
        );
    elsif p_status in ('pending', 'delivered') and p_user_id is null then
        -- What is set back would be found again.
        perform billing_private.raise_error(
            'invalid_request', format('p_user_id must be given: %s events are replayed user by user.', p_status)
        );
    end if;
    for v_user_id in
        select distinct user_id
        from billing.billing_events
        where status = p_status
            and (p_user_id is null or user_id = p_user_id)
            and (p_from is null or created_at >= p_from)
            and (p_to is null or created_at < p_to)
            and (p_kind is null or kind = p_kind)
        order by user_id
        limit 500
    loop
        perform from billing.credit_accounts where user_id = v_user_id for no key update;
        update billing.billing_events
        set status = 'pending', attempts = 0, error = null, delivered_at = null, next_attempt_at = null,
            pending_since = v_now
        where user_id = v_user_id
            and status = p_status
            and (p_from is null or created_at >= p_from)
            and (p_to is null or created_at < p_to)
            and (p_kind is null or kind = p_kind);
        get diagnostics v_rows = row_count;
        v_result.events := v_result.events + v_rows;
        perform billing_private.line_up_events(v_user_id, v_now);
    end loop;
    return v_result;
end
$$;

comment on function billing.replay_events(text, uuid, timestamptz, timestamptz, text) is
    'Sets events back to be delivered again; returns how many.';
revoke all on function billing.replay_events(text, uuid, timestamptz, timestamptz, text) from public;
grant execute on function billing.replay_events(text, uuid, timestamptz, timestamptz, text) to billing_api;
