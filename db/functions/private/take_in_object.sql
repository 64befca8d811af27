-- Raises: UC400 invalid_request, UC404 purchase_not_found, checkout_not_found, customer_not_found, account_not_found,
--         unknown_tier, UC409 payment_mismatch, not_migrated.
create or replace function billing_private.take_in_object(p_object jsonb, p_seen_at timestamptz)
returns boolean
language plpgsql
as $$
begin
    return case p_object ->> 'object'
        when 'payment_intent' then billing_private.take_in_intent(p_object)
        when 'refund' then billing_private.take_in_refund(p_object) is not null
        when 'dispute' then billing_private.take_in_dispute(p_object, p_seen_at)
        when 'subscription' then billing_private.take_in_subscription(p_object, p_seen_at) is not null
        when 'checkout.session' then billing_private.take_in_session(p_object)
    end;
end
$$;

comment on function billing_private.take_in_object(jsonb, timestamptz) is
    'Takes in an object as Stripe tells it; false: none of ours, null: of no kind that we know.';
revoke all on function billing_private.take_in_object(jsonb, timestamptz) from public;
