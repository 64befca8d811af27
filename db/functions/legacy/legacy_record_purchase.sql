-- What the old system's own payment code calls when a payment has succeeded. The payment is the key: it counts once,
-- whichever system took it.
-- Locks:  the payment's id, the user's migration, then the account of a user who has left the old system, until commit.
-- Replay: the same payment with the same amount and price tells the first purchase again.
-- Raises: UC400 invalid_request, UC409 idempotency_key_reused, payment_mismatch, UC422 amount_not_positive,
--         amount_too_large, amount_too_precise.
create or replace function billing.legacy_record_purchase(
    p_user_id           uuid,
    p_amount            numeric,
    p_price_cents       bigint,
    p_payment_intent_id text
)
returns billing.legacy_purchase
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_known    billing.legacy_purchase;
    v_purchase billing.legacy_purchase;
begin
    perform billing_private.check_amount(p_amount);
    if (p_price_cents between 1 and 100000000000 and p_payment_intent_id ~ '^\S{1,200}$') is not true then
        perform billing_private.raise_error(
            'invalid_request', 'p_price_cents must be positive, and p_payment_intent_id a payment at Stripe.'
        );
    end if;
    perform billing_private.lock_intent(p_payment_intent_id);
    perform billing_private.lock_migration(p_user_id);
    perform billing_private.check_payment_of(p_user_id, p_payment_intent_id);
    v_known := billing_private.legacy_purchase_of_payment(p_user_id, p_payment_intent_id);
    if (v_known.amount, v_known.price_cents) <> (p_amount, p_price_cents) then
        perform billing_private.raise_error('idempotency_key_reused', format(
            'Payment %s bought %s credits for %s cents.', p_payment_intent_id, v_known.amount, v_known.price_cents
        ));
    elsif v_known.status is distinct from 'completed' and v_known.status is distinct from 'refunded' then
        if billing_private.lives_here(p_user_id) then
            perform billing_private.grant_old_purchase(p_user_id, p_amount, p_price_cents, p_payment_intent_id);
        else
            perform billing_private.record_old_purchase(
                p_user_id, p_amount, p_price_cents, p_payment_intent_id, billing_private.clock()
            );
        end if;
    end if;
    v_purchase := billing_private.legacy_purchase_of_payment(p_user_id, p_payment_intent_id);
    v_purchase.replayed := v_known.status is not distinct from v_purchase.status;
    return v_purchase;
end
$$;

comment on function billing.legacy_record_purchase(uuid, numeric, bigint, text) is
    'Records a paid purchase of a user of the old system; for one who has left it, the account gets the credits.';
revoke all on function billing.legacy_record_purchase(uuid, numeric, bigint, text) from public;
grant execute on function billing.legacy_record_purchase(uuid, numeric, bigint, text) to billing_api;
