-- Comes after the account's lock in every function that takes both.
create or replace function billing_private.end_stripe_call(
    p_call_id uuid,
    p_status  text,
    p_error   text default null
)
returns void
language plpgsql
as $$
declare
    v_now timestamptz := billing_private.clock();
begin
    update billing.stripe_calls
    set status = p_status, error = left(p_error, 2000), next_attempt_at = null, finished_at = v_now
    where call_id = p_call_id and status = 'pending';
end
$$;

comment on function billing_private.end_stripe_call(uuid, text, text) is
    'Ends a pending call to Stripe, done or failed.';
revoke all on function billing_private.end_stripe_call(uuid, text, text) from public;
