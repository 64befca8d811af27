-- p_object is what Stripe made or told. In one transaction: what it means, and that the call is done.
-- Locks:  what the object changes, the user's migration and account first, then the call, until commit.
-- Replay: a call that has ended is returned as it is.
-- Raises: UC400 invalid_request, UC404 call_not_found, purchase_not_found, customer_not_found, account_not_found,
--         unknown_tier, UC409 payment_mismatch, not_migrated.
create or replace function billing.finish_stripe_call(p_call_id uuid, p_object jsonb)
returns billing.stripe_call
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_call billing.stripe_calls := billing_private.read_stripe_call(p_call_id);
begin
    if v_call.status = 'pending' then
        perform billing_private.take_in_answer(v_call, p_object);
        perform billing_private.end_stripe_call(p_call_id, 'done');
    end if;
    return billing_private.as_stripe_call(
        billing_private.read_stripe_call(p_call_id), billing_private.clock()
    );
end
$$;

comment on function billing.finish_stripe_call(uuid, jsonb) is
    'Takes in what Stripe answered to a call, and ends it.';
revoke all on function billing.finish_stripe_call(uuid, jsonb) from public;
grant execute on function billing.finish_stripe_call(uuid, jsonb) to billing_api;
