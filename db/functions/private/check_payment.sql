-- Raises: UC409 payment_mismatch.
create or replace function billing_private.check_payment(
    p_payment  billing.billing_payments,
    p_purchase billing.credit_purchases,
    p_user_id  uuid,
    p_cents    bigint,
    p_currency text,
    p_customer text
)
returns void
language plpgsql
stable
as $$
declare
    v_id      text := p_payment.payment_intent_id;
    v_problem text;
begin
    v_problem := case
        when p_payment.user_id <> p_user_id then format('it is of user %s', p_payment.user_id)
        when p_payment.amount_cents <> p_cents or p_payment.currency <> p_currency
            then format('it was %s %s before', p_payment.amount_cents, p_payment.currency)
        when p_purchase.purchase_id is null then null
        when p_purchase.user_id <> p_user_id then format('the purchase is of user %s', p_purchase.user_id)
        when p_payment.purchase_id <> p_purchase.purchase_id then format('it paid purchase %s', p_payment.purchase_id)
        when p_purchase.status = 'paid' and p_purchase.stripe_payment_intent_id <> v_id
            then format('the purchase is paid by %s', p_purchase.stripe_payment_intent_id)
        when p_purchase.price_cents <> p_cents or p_currency is distinct from 'usd'
            then format('the price is %s usd', p_purchase.price_cents)
        when billing_private.user_of_customer(p_customer) <> p_user_id
            then format('customer %s is another user', p_customer)
    end;
    if v_problem is not null then
        perform billing_private.raise_error(
            'payment_mismatch', format('Payment %s of %s %s: %s (cents).', v_id, p_cents, p_currency, v_problem)
        );
    end if;
end
$$;

comment on function billing_private.check_payment is
    'Raises when a payment is not what its purchase or its record says.';
revoke all on function billing_private.check_payment from public;
