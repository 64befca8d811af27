-- Stripe keeps an idempotency key for 24 hours at least; an hour is left for clocks and slow answers.
create or replace function billing_private.as_stripe_call(p_call billing.stripe_calls, p_now timestamptz)
returns billing.stripe_call
language plpgsql
stable
as $$
begin
    return (
        p_call.call_id, p_call.user_id, p_call.kind, p_call.subject_id, p_call.request,
        (select stripe_customer_id from billing.billing_customers where user_id = p_call.user_id),
        p_call.status, format('credit-billing-%s-%s', p_call.call_id, p_call.attempt),
        p_call.uncertain or coalesce(p_call.first_tried_at < p_now - interval '23 hours', false),
        p_call.tries, p_call.first_tried_at, p_call.claimed_at, p_call.next_attempt_at, p_call.error,
        p_call.created_at
    )::billing.stripe_call;
end
$$;

comment on function billing_private.as_stripe_call(billing.stripe_calls, timestamptz) is
    'A call to Stripe as the SQL API tells it.';
revoke all on function billing_private.as_stripe_call(billing.stripe_calls, timestamptz) from public;
