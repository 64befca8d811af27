create or replace function billing_private.legacy_purchase_of_payment(p_user_id uuid, p_payment_intent_id text)
returns billing.legacy_purchase
language plpgsql
stable
as $$
declare
    v_purchase billing.legacy_purchase;
begin
    select * into v_purchase
    from billing_private.legacy_purchases(p_user_id)
    where stripe_payment_intent_id = p_payment_intent_id
    order by status <> 'completed', purchase_id
    limit 1;
    return v_purchase;
end
$$;

comment on function billing_private.legacy_purchase_of_payment(uuid, text) is
    'The purchase that a payment of a user is for, in the terms of the old system; nulls: none.';
revoke all on function billing_private.legacy_purchase_of_payment(uuid, text) from public;
