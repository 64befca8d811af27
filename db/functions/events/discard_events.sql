-- Dead events, of one user or all, are kept and no longer told by alert_undelivered_events. Nothing is delivered; they can
-- still be replayed.
-- Locks: the events, until commit.
create or replace function billing.discard_events(p_user_id uuid default null)
returns billing.event_count
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_result billing.event_count;
begin
    update billing.billing_events
    set status = 'kept'
    where status = 'dead' and (p_user_id is null or user_id = p_user_id);
    v_result.status := 'kept';
    get diagnostics v_result.events = row_count;
    return v_result;
end
$$;

comment on function billing.discard_events(uuid) is 'Gives events up that could not be delivered; returns how many.';
revoke all on function billing.discard_events(uuid) from public;
grant execute on function billing.discard_events(uuid) to billing_api;
