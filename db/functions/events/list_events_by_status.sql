-- Of all users: for whoever is on call. A page may be longer than p_limit: events of one moment stay together, and p_before
-- goes on after them.
-- Raises: UC422 limit_out_of_range, unknown_status.
create or replace function billing.list_events_by_status(
    p_status text default 'dead',
    p_before timestamptz default null,
    p_limit  integer default 50
)
returns setof billing.event
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    if (p_status in ('kept', 'pending', 'delivered', 'dead')) is not true then
        perform billing_private.raise_error(
            'unknown_status', format('p_status is %L: name kept, pending, delivered or dead.', p_status)
        );
    end if;
    return query
        select (billing_private.as_event(e)).*
        from billing.billing_events e
        where e.status = p_status and (p_before is null or e.created_at < p_before)
        order by e.created_at desc
        fetch first (p_limit) rows with ties;
end
$$;

comment on function billing.list_events_by_status(text, timestamptz, integer) is
    'Events of all users of one status, newest first, page by page.';
revoke all on function billing.list_events_by_status(text, timestamptz, integer) from public;
grant execute on function billing.list_events_by_status(text, timestamptz, integer) to billing_api;
