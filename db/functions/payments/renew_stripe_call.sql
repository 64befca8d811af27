-- For after a search at Stripe: what the earlier key was used for is not there. A call that another search has renewed
-- in the meantime keeps that key: it may be in use.
-- Locks:  the call, until commit.
-- Raises: UC404 call_not_found.
create or replace function billing.renew_stripe_call(p_call_id uuid)
returns billing.stripe_call
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now timestamptz := billing_private.clock();
begin
    perform billing_private.read_stripe_call(p_call_id);
    update billing.stripe_calls
    set attempt = attempt + 1, uncertain = false, first_tried_at = v_now
    where call_id = p_call_id
        and status = 'pending'
        and (uncertain or first_tried_at < v_now - interval '23 hours');
    return billing_private.as_stripe_call(billing_private.read_stripe_call(p_call_id), v_now);
end
$$;

comment on function billing.renew_stripe_call(uuid) is
    'Gives a call to Stripe a fresh idempotency key.';
revoke all on function billing.renew_stripe_call(uuid) from public;
grant execute on function billing.renew_stripe_call(uuid) to billing_api;
