-- p_failed: the payment that it waited for did not come (the session itself does not say so).
-- Locks:  the payment's id, the account, and what it changes, until commit.
-- Raises: UC400 invalid_request, UC404 purchase_not_found, checkout_not_found, UC409 payment_mismatch.
create or replace function billing_private.take_in_session(p_session jsonb, p_failed boolean default false)
returns boolean
language plpgsql
as $$
declare
    v_purchase_id uuid := billing_private.as_uuid(p_session #>> '{metadata,purchase_id}');
    v_checkout_id uuid := billing_private.as_uuid(p_session #>> '{metadata,checkout_id}');
    v_status      text := p_session ->> 'status';
    v_purchase    billing.credit_purchases;
begin
    perform billing_private.check_stripe_object(p_session, '{id, status}', '{created}');
    if v_checkout_id is not null then
        perform billing_private.move_checkout(v_checkout_id, p_session);
        return true;
    elsif v_purchase_id is null then
        return false;
    end if;
    v_purchase := billing_private.read_purchase(v_purchase_id);
    perform billing_private.lock_intent(p_session ->> 'payment_intent');
    perform billing_private.lock_account(v_purchase.user_id, true);
    perform billing_private.move_purchase(
        v_purchase_id,
        case
            when p_failed then 'failed'
            when v_status = 'complete' then 'processing'
            else v_status
        end,
        p_session ->> 'id', p_session ->> 'url'
    );
    if v_status = 'complete' and p_session ->> 'payment_status' = 'paid' then
        perform billing_private.check_stripe_object(p_session, '{payment_intent, currency}', '{amount_total}');
        perform billing_private.book_payment(
            v_purchase.user_id, v_purchase_id, p_session ->> 'payment_intent', (p_session ->> 'amount_total')::bigint,
            p_session ->> 'currency', p_session ->> 'customer', to_timestamp((p_session ->> 'created')::bigint)
        );
    end if;
    return true;
end
$$;

comment on function billing_private.take_in_session(jsonb, boolean) is
    'Takes in a Checkout Session as Stripe tells it; false: none of ours.';
revoke all on function billing_private.take_in_session(jsonb, boolean) from public;
