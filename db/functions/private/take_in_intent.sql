-- A PaymentIntent that names no purchase is of a subscription, or none of ours.
-- Locks:  the payment's id, the account, and what it changes, until commit.
-- Raises: UC400 invalid_request, UC404 purchase_not_found, account_not_found, UC409 payment_mismatch, not_migrated.
create or replace function billing_private.take_in_intent(p_intent jsonb)
returns boolean
language plpgsql
as $$
declare
    v_id          text := p_intent ->> 'id';
    v_status      text := p_intent ->> 'status';
    v_purchase_id uuid := billing_private.as_uuid(p_intent #>> '{metadata,purchase_id}');
    v_purchase    billing.credit_purchases;
    v_user_id     uuid;
begin
    perform billing_private.check_stripe_object(p_intent, '{id, status}', '{created}');
    if v_purchase_id is not null then
        v_purchase := billing_private.read_purchase(v_purchase_id);
    end if;
    v_user_id := coalesce(v_purchase.user_id, billing_private.user_of_customer(p_intent ->> 'customer'));
    if v_user_id is null then
        return false;
    end if;
    perform billing_private.lock_intent(v_id);
    perform billing_private.lock_account(v_user_id, true);
    if v_status = 'succeeded' then
        perform billing_private.check_stripe_object(p_intent, '{currency}', '{amount_received}');
        perform billing_private.book_payment(
            v_user_id, v_purchase_id, v_id, (p_intent ->> 'amount_received')::bigint, p_intent ->> 'currency',
            p_intent ->> 'customer', to_timestamp((p_intent ->> 'created')::bigint)
        );
    elsif v_status = 'processing' then
        perform billing_private.move_purchase(v_purchase_id, 'processing', p_payment_intent_id => v_id);
    elsif v_purchase.kind = 'auto_top_up'
        and (v_status = 'canceled' or jsonb_typeof(p_intent -> 'last_payment_error') = 'object')
    then
        perform billing_private.fail_top_up(
            v_purchase,
            coalesce(
                p_intent #>> '{last_payment_error,decline_code}', p_intent #>> '{last_payment_error,code}', 'canceled'
            ),
            coalesce(p_intent #>> '{last_payment_error,message}', 'The payment was canceled.')
        );
    end if;
    return true;
end
$$;

comment on function billing_private.take_in_intent(jsonb) is
    'Takes in a PaymentIntent as Stripe tells it; false: none of ours.';
revoke all on function billing_private.take_in_intent(jsonb) from public;
