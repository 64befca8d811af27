-- One checkout is open at a time: an older one expires, here at once, and at Stripe when the new one is made.
-- Locks:  the account row, until commit.
-- Replay: the same key, tier and interval returns the first checkout with replayed = true.
-- Raises: UC400 invalid_request, UC404 account_not_found, unknown_tier, UC409 account_closed, change_pending,
--         idempotency_key_reused, subscription_exists, not_migrated, UC422 tier_not_for_sale, unknown_interval.
create or replace function billing.request_checkout(
    p_user_id         uuid,
    p_tier            text,
    p_interval        text default 'month',
    p_idempotency_key text default null,
    p_details         jsonb default null
)
returns billing.checkout
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account  billing.credit_accounts;
    v_checkout billing.billing_checkouts;
    v_price    jsonb;
    v_now      timestamptz;
begin
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key, p_metadata => p_details);
    if (p_interval in ('month', 'year')) is not true then
        perform billing_private.raise_error('unknown_interval', format('Interval %L is not one of them.', p_interval));
    end if;
    v_price := billing_private.request_price(p_tier, p_interval);
    v_account := billing_private.lock_account(p_user_id);
    select * into v_checkout
    from billing.billing_checkouts
    where user_id = p_user_id and idempotency_key = p_idempotency_key;
    if found then
        if (v_checkout.tier, v_checkout.billing_interval) <> (p_tier, p_interval) then
            perform billing_private.raise_error('idempotency_key_reused', format(
                'Key %L of user %s belongs to checkout %s.', p_idempotency_key, p_user_id, v_checkout.checkout_id
            ));
        end if;
        return billing_private.as_checkout(v_checkout, true);
    end if;
    perform billing_private.check_not_closed(v_account);
    perform billing_private.check_no_subscription(p_user_id);
    perform billing_private.expire_checkouts(p_user_id);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    insert into billing.billing_checkouts (
        checkout_id, user_id, tier, billing_interval, idempotency_key, details, created_at
    )
    values (
        billing_private.time_ordered_id(v_now), p_user_id, p_tier, p_interval, p_idempotency_key,
        coalesce(p_details, '{}'), v_now
    )
    returning * into v_checkout;
    perform billing_private.queue_stripe_call(
        p_user_id, 'checkout', v_checkout.checkout_id::text,
        v_checkout.details || v_price || jsonb_build_object('checkout_id', v_checkout.checkout_id), v_now
    );
    return billing_private.as_checkout(v_checkout, false);
end
$$;

comment on function billing.request_checkout(uuid, text, text, text, jsonb) is
    'Records that a user sets out to subscribe to a tier, before Stripe is asked.';
revoke all on function billing.request_checkout(uuid, text, text, text, jsonb) from public;
grant execute on function billing.request_checkout(uuid, text, text, text, jsonb) to billing_api;
