-- For what was read at Stripe by hand, or by the reconciliation. p_seen_at is when it was read, now unless told; what
-- is older than what stands here changes nothing.
-- Locks:  what the object changes, the user's migration and account first, until commit.
-- Raises: UC400 invalid_request, UC404 purchase_not_found, checkout_not_found, customer_not_found, account_not_found,
--         unknown_tier, UC409 payment_mismatch, not_migrated.
create or replace function billing.record_stripe_object(p_object jsonb, p_seen_at timestamptz default null)
returns boolean
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_ours boolean := billing_private.take_in_object(p_object, coalesce(p_seen_at, billing_private.clock()));
begin
    if v_ours is null then
        perform billing_private.raise_error(
            'invalid_request',
            'p_object must be a payment_intent, refund, dispute, subscription or checkout.session.'
        );
    end if;
    return v_ours;
end
$$;

comment on function billing.record_stripe_object(jsonb, timestamptz) is
    'Takes in an object as Stripe tells it; false: it is none of ours.';
revoke all on function billing.record_stripe_object(jsonb, timestamptz) from public;
grant execute on function billing.record_stripe_object(jsonb, timestamptz) to billing_api;
