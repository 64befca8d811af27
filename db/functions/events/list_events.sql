-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_events(
    p_user_id uuid,
    p_before  bigint default null,
    p_limit   integer default 50
)
returns setof billing.event
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    return query
        select (billing_private.as_event(e)).*
        from billing.billing_events e
        where e.user_id = p_user_id and (p_before is null or e.event_no < p_before)
        order by e.event_no desc
        limit p_limit;
end
$$;

comment on function billing.list_events(uuid, bigint, integer) is
    'The events of a user, newest first, page by page.';
revoke all on function billing.list_events(uuid, bigint, integer) from public;
grant execute on function billing.list_events(uuid, bigint, integer) to billing_api;
