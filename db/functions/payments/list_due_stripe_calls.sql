-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_due_stripe_calls(p_limit integer default 100)
returns setof billing.stripe_call
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_now  timestamptz := billing_private.clock();
    v_call billing.stripe_calls;
begin
    perform billing_private.check_limit(p_limit);
    for v_call in
        select *
        from billing.stripe_calls
        where status = 'pending' and next_attempt_at <= v_now
        order by next_attempt_at, call_id
        limit p_limit
    loop
        return next billing_private.as_stripe_call(v_call, v_now);
    end loop;
end
$$;

comment on function billing.list_due_stripe_calls(integer) is
    'Calls to Stripe that are to be made, or to be tried again.';
revoke all on function billing.list_due_stripe_calls(integer) from public;
grant execute on function billing.list_due_stripe_calls(integer) to billing_api;
