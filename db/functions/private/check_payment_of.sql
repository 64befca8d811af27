-- Raises: UC409 payment_mismatch.
create or replace function billing_private.check_payment_of(p_user_id uuid, p_payment_intent_id text)
returns void
language plpgsql
stable
as $$
declare
    v_other uuid := (
        select user_id
        from (
            select user_id
            from legacy_billing.legacy_purchases
            where stripe_payment_intent_id = p_payment_intent_id
            union all
            select user_id from billing.credit_purchases where stripe_payment_intent_id = p_payment_intent_id
            union all
            select user_id from billing.billing_payments where payment_intent_id = p_payment_intent_id
        ) known
        where user_id <> p_user_id
        limit 1
    );
begin
    if v_other is not null then
        perform billing_private.raise_error(
            'payment_mismatch', format('Payment %s is of user %s.', p_payment_intent_id, v_other)
        );
    end if;
end
$$;

comment on function billing_private.check_payment_of(uuid, text) is
    'Raises when a payment is known in either system as another user''s.';
revoke all on function billing_private.check_payment_of(uuid, text) from public;
