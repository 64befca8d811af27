-- Read without locks: claim_event looks again. At most one event per user is due.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_due_events(p_limit integer default 100)
returns setof billing.event
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_now timestamptz := billing_private.clock();
begin
    perform billing_private.check_limit(p_limit);
    return query
        select (billing_private.as_event(e)).*
        from billing.billing_events e
        where e.next_attempt_at <= v_now
        order by e.next_attempt_at, e.event_id
        limit p_limit;
end
$$;

comment on function billing.list_due_events(integer) is 'Events that are to be delivered, or to be tried again.';
revoke all on function billing.list_due_events(integer) from public;
grant execute on function billing.list_due_events(integer) to billing_api;
