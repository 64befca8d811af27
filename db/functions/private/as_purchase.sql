create or replace function billing_private.as_purchase(p_purchase billing.credit_purchases, p_replayed boolean)
returns billing.purchase
language plpgsql
stable
as $$
begin
    return (
        p_purchase.purchase_id, p_purchase.user_id, p_purchase.kind, p_purchase.amount, p_purchase.price_cents,
        p_purchase.package, p_purchase.status, p_purchase.checkout_url, p_purchase.stripe_checkout_session_id,
        p_purchase.stripe_payment_intent_id, p_purchase.entry_no, p_purchase.error, p_purchase.created_at,
        p_purchase.completed_at,
        billing_private.pending_call(
            case p_purchase.kind when 'auto_top_up' then 'top_up' else 'purchase' end, p_purchase.purchase_id::text
        ),
        p_replayed
    )::billing.purchase;
end
$$;

comment on function billing_private.as_purchase(billing.credit_purchases, boolean) is
    'A purchase as the SQL API tells it.';
revoke all on function billing_private.as_purchase(billing.credit_purchases, boolean) from public;
