-- A purchase that was begun in the old system, and paid when its user had left it. The caller has locked the payment's
-- id and the user's migration.
-- Locks:  the account, the purchase, the payment, until commit.
-- Raises: UC409 not_migrated, payment_mismatch, UC422 amount_too_large.
create or replace function billing_private.grant_old_purchase(
    p_user_id           uuid,
    p_amount            numeric,
    p_price_cents       bigint,
    p_payment_intent_id text
)
returns void
language plpgsql
as $$
declare
    v_account     billing.credit_accounts := billing_private.lock_account(p_user_id);
    v_now         timestamptz := greatest(billing_private.clock(), v_account.updated_at);
    v_purchase_id uuid;
begin
    select purchase_id into v_purchase_id
    from billing.credit_purchases
    where user_id = p_user_id and stripe_payment_intent_id = p_payment_intent_id
    for no key update;
    if not found then
        v_purchase_id := billing_private.time_ordered_id(v_now);
        insert into billing.credit_purchases (
            purchase_id, user_id, kind, amount, price_cents, status, stripe_payment_intent_id, created_at
        )
        values (
            v_purchase_id, p_user_id, 'migration', p_amount, p_price_cents, 'processing', p_payment_intent_id, v_now
        );
    end if;
    perform billing_private.book_payment(
        p_user_id, v_purchase_id, p_payment_intent_id, p_price_cents, 'usd', null, v_now
    );
end
$$;

comment on function billing_private.grant_old_purchase(uuid, numeric, bigint, text) is
    'Grants a purchase of the old system to a user who has left it.';
revoke all on function billing_private.grant_old_purchase(uuid, numeric, bigint, text) from public;
