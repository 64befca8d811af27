-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_due_stripe_events(p_limit integer default 100)
returns setof billing.stripe_event
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_now   timestamptz := billing_private.clock();
    v_event billing.stripe_events;
begin
    perform billing_private.check_limit(p_limit);
    for v_event in
        select *
        from billing.stripe_events
        where status = 'pending' and next_attempt_at <= v_now
        order by next_attempt_at, event_id
        limit p_limit
    loop
        return next billing_private.as_stripe_event(v_event);
    end loop;
end
$$;

comment on function billing.list_due_stripe_events(integer) is
    'Events that are to be applied, or to be tried again.';
revoke all on function billing.list_due_stripe_events(integer) from public;
grant execute on function billing.list_due_stripe_events(integer) to billing_api;
