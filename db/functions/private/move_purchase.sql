-- A status only moves forward, whatever order the news comes in: what failed or expired may still be paid, and what is
-- paid stays paid. The first Checkout Session of a purchase is the one that counts.
create or replace function billing_private.move_purchase(
    p_purchase_id       uuid,
    p_status            text,
    p_session_id        text default null,
    p_url               text default null,
    p_payment_intent_id text default null,
    p_error             text default null
)
returns void
language plpgsql
as $$
declare
    v_ranks constant text[] := array['pending', 'open', 'processing', 'failed', 'expired', 'paid'];
begin
    update billing.credit_purchases
    set status = case
            when array_position(v_ranks, p_status) > array_position(v_ranks, status) then p_status
            else status
        end,
        stripe_checkout_session_id = coalesce(stripe_checkout_session_id, p_session_id),
        checkout_url = coalesce(checkout_url, p_url),
        stripe_payment_intent_id = coalesce(stripe_payment_intent_id, p_payment_intent_id),
        error = coalesce(left(p_error, 2000), error)
    where purchase_id = p_purchase_id;
end
$$;

comment on function billing_private.move_purchase is 'Moves the status of a purchase that is not paid forward.';
revoke all on function billing_private.move_purchase from public;
