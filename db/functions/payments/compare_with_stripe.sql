-- p_objects is what Stripe lists for the window: payment intents, refunds, disputes and subscriptions. Payments,
-- refunds and disputes of ours from within the window must be among them, and so must every subscription that has not
-- ended. What was recorded in the last ten minutes may still be under way, and is not missed.
-- Raises: UC400 invalid_request.
create or replace function billing.compare_with_stripe(
    p_objects jsonb,
    p_from    timestamptz,
    p_to      timestamptz
)
returns setof billing.difference
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    if (jsonb_typeof(p_objects) = 'array' and p_from < p_to) is not true then
        perform billing_private.raise_error(
            'invalid_request', 'p_objects must be an array, and p_from must be before p_to.'
        );
    end if;
    return query
        select * from billing_private.compare_payments(p_objects)
        union all
        select * from billing_private.compare_refunds(p_objects)
        union all
        select * from billing_private.compare_disputes(p_objects)
        union all
        select * from billing_private.compare_subscriptions(p_objects)
        union all
        select * from billing_private.missing_at_stripe(
            p_objects, p_from, least(p_to, billing_private.clock() - interval '10 minutes')
        )
        order by 1, 2, 4;
end
$$;

comment on function billing.compare_with_stripe(jsonb, timestamptz, timestamptz) is
    'What Stripe and we tell differently.';
revoke all on function billing.compare_with_stripe(jsonb, timestamptz, timestamptz) from public;
grant execute on function billing.compare_with_stripe(jsonb, timestamptz, timestamptz) to billing_api;
