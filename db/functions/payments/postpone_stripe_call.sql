-- Tried again with growing pauses of up to an hour, for as long as it takes: what was recorded is owed. p_uncertain:
-- the try may have had its effect, and its idempotency key is of no more use; the next one searches first.
-- Locks:  the call, until commit.
-- Raises: UC404 call_not_found.
create or replace function billing.postpone_stripe_call(
    p_call_id   uuid,
    p_error     text,
    p_uncertain boolean default false
)
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
    set error = left(p_error, 2000),
        uncertain = uncertain or coalesce(p_uncertain, false),
        claimed_at = null,
        next_attempt_at = v_now + least(interval '5 seconds' * (1 << least(tries, 10)), interval '1 hour')
    where call_id = p_call_id and status = 'pending';
    return billing_private.as_stripe_call(billing_private.read_stripe_call(p_call_id), v_now);
end
$$;

comment on function billing.postpone_stripe_call(uuid, text, boolean) is
    'Notes that a call to Stripe did not get through, and when it is tried again.';
revoke all on function billing.postpone_stripe_call(uuid, text, boolean) from public;
grant execute on function billing.postpone_stripe_call(uuid, text, boolean) to billing_api;
