create or replace function billing_private.as_checkout(p_checkout billing.billing_checkouts, p_replayed boolean)
returns billing.checkout
language plpgsql
stable
as $$
begin
    return (
        p_checkout.checkout_id, p_checkout.user_id, p_checkout.tier, p_checkout.billing_interval, p_checkout.status,
        p_checkout.checkout_url, p_checkout.stripe_checkout_session_id, p_checkout.created_at,
        billing_private.pending_call('checkout', p_checkout.checkout_id::text), p_replayed
    )::billing.checkout;
end
$$;

comment on function billing_private.as_checkout(billing.billing_checkouts, boolean) is
    'A checkout of a subscription as the SQL API tells it.';
revoke all on function billing_private.as_checkout(billing.billing_checkouts, boolean) from public;
