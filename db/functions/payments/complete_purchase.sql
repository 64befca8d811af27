-- p_intent is Stripe's PaymentIntent. It must be of this purchase; what it says decides: only one that succeeded
-- grants.
-- Locks:  the user's migration, the account, the purchase, the payment, until commit.
-- Replay: a purchase that is paid by this payment is returned as it is.
-- Raises: UC400 invalid_request, UC404 purchase_not_found, UC409 payment_mismatch.
create or replace function billing.complete_purchase(p_purchase_id uuid, p_intent jsonb)
returns billing.purchase
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_before billing.credit_purchases := billing_private.read_purchase(p_purchase_id);
begin
    if p_intent ->> 'object' is distinct from 'payment_intent' then
        perform billing_private.raise_error('invalid_request', 'p_intent must be a PaymentIntent.');
    elsif billing_private.as_uuid(p_intent #>> '{metadata,purchase_id}') is distinct from p_purchase_id then
        perform billing_private.raise_error('payment_mismatch', format(
            'The metadata of %s does not name purchase %s.', p_intent ->> 'id', p_purchase_id
        ));
    end if;
    perform billing_private.take_in_intent(p_intent);
    return billing_private.as_purchase(
        billing_private.read_purchase(p_purchase_id), v_before.status = 'paid'
    );
end
$$;

comment on function billing.complete_purchase(uuid, jsonb) is
    'Grants the credits of a purchase, once, when its payment has succeeded.';
revoke all on function billing.complete_purchase(uuid, jsonb) from public;
grant execute on function billing.complete_purchase(uuid, jsonb) to billing_api;
