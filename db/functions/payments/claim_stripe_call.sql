-- Whoever gets the row is to do the work, and has two minutes for it. A row of nulls is the answer when somebody else
-- has it, or it is done.
-- Locks:  the call, until commit.
-- Raises: UC404 call_not_found.
create or replace function billing.claim_stripe_call(p_call_id uuid)
returns billing.stripe_call
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now  timestamptz;
    v_call billing.stripe_calls;
begin
    perform billing_private.read_stripe_call(p_call_id);
    select * into v_call from billing.stripe_calls where call_id = p_call_id for no key update;
    v_now := billing_private.clock();
    if v_call.status <> 'pending' or (v_call.claimed_at is not null and v_call.next_attempt_at > v_now) then
        return null;
    end if;
    update billing.stripe_calls
    set tries = tries + 1,
        claimed_at = v_now,
        first_tried_at = coalesce(first_tried_at, v_now),
        next_attempt_at = v_now + interval '2 minutes'
    where call_id = p_call_id;
    return billing_private.as_stripe_call(billing_private.read_stripe_call(p_call_id), v_now);
end
$$;

comment on function billing.claim_stripe_call(uuid) is
    'Takes a call to Stripe for oneself.';
revoke all on function billing.claim_stripe_call(uuid) from public;
grant execute on function billing.claim_stripe_call(uuid) to billing_api;
