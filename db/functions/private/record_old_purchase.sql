-- The caller has locked the user's migration.
create or replace function billing_private.record_old_purchase(
    p_user_id           uuid,
    p_amount            numeric,
    p_price_cents       bigint,
    p_payment_intent_id text,
    p_now               timestamptz
)
returns void
language plpgsql
as $$
begin
    perform billing_private.know_old_user(p_user_id);
    insert into legacy_billing.legacy_customers (user_id, bought_credit)
    values (p_user_id, billing_private.old_credit(p_user_id) + p_amount);
    update legacy_billing.legacy_purchases
    set status = 'completed', completed_at = p_now
    where user_id = p_user_id and purchase_id = (
        select min(purchase_id)
        from legacy_billing.legacy_purchases
        where user_id = p_user_id and stripe_payment_intent_id = p_payment_intent_id
    );
    if not found then
        insert into legacy_billing.legacy_purchases (
            purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
        )
        values (
            billing_private.time_ordered_id(p_now)::text, p_user_id, p_amount, p_price_cents, 'completed',
            p_payment_intent_id, p_now, p_now
        );
    end if;
end
$$;

comment on function billing_private.record_old_purchase is 'Records a paid purchase in the old system.';
revoke all on function billing_private.record_old_purchase from public;
