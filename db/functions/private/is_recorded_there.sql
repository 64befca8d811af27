create or replace function billing_private.is_recorded_there(p_user_id uuid, p_payment_intent_id text)
returns boolean
language plpgsql
stable
as $$
begin
    return billing_private.is_rolled_back(p_user_id) and exists (
        select from legacy_billing.legacy_purchases
        where user_id = p_user_id and stripe_payment_intent_id = p_payment_intent_id
            and status in ('completed', 'refunded')
    );
end
$$;

comment on function billing_private.is_recorded_there(uuid, text) is
    'Whether the old system has counted a payment of a user who was moved back to it.';
revoke all on function billing_private.is_recorded_there(uuid, text) from public;
