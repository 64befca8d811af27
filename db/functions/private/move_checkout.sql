-- Locks:  the account, the checkout, until commit.
-- Raises: UC404 checkout_not_found.
create or replace function billing_private.move_checkout(p_checkout_id uuid, p_session jsonb)
returns void
language plpgsql
as $$
declare
    v_ranks constant text[] := array['pending', 'open', 'failed', 'expired', 'complete'];
    v_now            timestamptz := billing_private.clock();
    v_checkout       billing.billing_checkouts := billing_private.read_checkout(p_checkout_id);
begin
    perform billing_private.lock_account(v_checkout.user_id, true);
    update billing.billing_checkouts
    set status = case
            when array_position(v_ranks, p_session ->> 'status') > array_position(v_ranks, status)
                then p_session ->> 'status'
            else status
        end,
        stripe_checkout_session_id = coalesce(stripe_checkout_session_id, p_session ->> 'id'),
        checkout_url = coalesce(checkout_url, p_session ->> 'url')
    where checkout_id = p_checkout_id;
    if p_session ->> 'status' = 'complete' then
        perform billing_private.queue_stripe_call(
            v_checkout.user_id, 'subscriptions', v_checkout.user_id::text, '{}', v_now
        );
    end if;
end
$$;

comment on function billing_private.move_checkout(uuid, jsonb) is
    'Takes in the Checkout Session of a subscription; a completed one lets the subscription be fetched.';
revoke all on function billing_private.move_checkout(uuid, jsonb) from public;
