-- The caller has locked the payment's id.
-- Locks:  the account, the purchase, the payment, until commit.
-- Raises: UC404 account_not_found, UC409 payment_mismatch, not_migrated.
create or replace function billing_private.book_payment(
    p_user_id           uuid,
    p_purchase_id       uuid,
    p_payment_intent_id text,
    p_cents             bigint,
    p_currency          text,
    p_customer          text,
    p_created_at        timestamptz
)
returns void
language plpgsql
as $$
declare
    v_account  billing.credit_accounts := billing_private.lock_account(p_user_id, true);
    v_now      timestamptz := greatest(billing_private.clock(), v_account.updated_at);
    v_purchase billing.credit_purchases;
    v_payment  billing.billing_payments;
begin
    select * into v_purchase from billing.credit_purchases where purchase_id = p_purchase_id for no key update;
    insert into billing.billing_payments (payment_intent_id, user_id, amount_cents, currency, created_at)
    values (p_payment_intent_id, p_user_id, p_cents, p_currency, p_created_at)
    on conflict do nothing;
    -- A Checkout Session is older than the payment that it leads to.
    update billing.billing_payments
    set created_at = greatest(created_at, p_created_at)
    where payment_intent_id = p_payment_intent_id;
    select * into v_payment
    from billing.billing_payments
    where payment_intent_id = p_payment_intent_id
    for no key update;
    perform billing_private.check_payment(v_payment, v_purchase, p_user_id, p_cents, p_currency, p_customer);
    v_account := billing_private.settle_account(v_account, v_now);
    if v_purchase.status <> 'paid' and billing_private.is_recorded_there(p_user_id, p_payment_intent_id) then
        update billing.credit_purchases
        set status = 'failed', stripe_payment_intent_id = null, error = 'The old system has counted the payment.'
        where purchase_id = p_purchase_id;
    elsif v_purchase.status <> 'paid' then
        v_account := billing_private.grant_purchase(v_account, v_now, v_purchase, p_payment_intent_id);
    end if;
    perform billing_private.adopt_payment(v_account, v_now, p_payment_intent_id, 'refund or dispute', true);
    perform billing_private.forward_to_old_system(p_user_id);
end
$$;

comment on function billing_private.book_payment is
    'Takes in a payment that succeeded, grants what it bought, once, and what was said of it before.';
revoke all on function billing_private.book_payment from public;
