-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_stripe_events(p_status text default null, p_limit integer default 50)
returns setof billing.stripe_event
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_event billing.stripe_events;
begin
    perform billing_private.check_limit(p_limit);
    for v_event in
        select *
        from billing.stripe_events
        where p_status is null or status = p_status
        order by received_at desc, event_id
        limit p_limit
    loop
        return next billing_private.as_stripe_event(v_event);
    end loop;
end
$$;

comment on function billing.list_stripe_events(text, integer) is
    'Webhook events, newest first, of one status or all.';
revoke all on function billing.list_stripe_events(text, integer) from public;
grant execute on function billing.list_stripe_events(text, integer) to billing_api;
