-- p_change: cancel (at the end of the period), reactivate (take a cancellation back), or tier with p_tier. A higher
-- tier counts and is charged at once, a lower one from the next billing period on; naming the present tier takes a
-- lower one back. The answer's call_id is what is to be done at Stripe; none when everything is as wanted.
-- Locks:  the account row, until commit.
-- Raises: UC400 invalid_request, UC404 account_not_found, subscription_not_found, unknown_tier, UC409 account_closed,
--         change_pending, not_migrated, UC422 tier_not_for_sale.
create or replace function billing.request_subscription_change(
    p_user_id uuid,
    p_change  text,
    p_tier    text default null
)
returns billing.subscription
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account      billing.credit_accounts;
    v_subscription billing.billing_subscriptions;
    v_request      jsonb;
    v_pending      jsonb;
    v_call_id      uuid;
begin
    if (p_change in ('cancel', 'reactivate', 'tier')) is not true then
        perform billing_private.raise_error('invalid_request', 'p_change must be cancel, reactivate or tier.');
    end if;
    v_account := billing_private.lock_account(p_user_id);
    if p_change <> 'cancel' then
        perform billing_private.check_not_closed(v_account);
    end if;
    v_subscription := billing_private.live_subscription(p_user_id);
    v_request := billing_private.subscription_request(v_subscription, p_change, p_tier);
    select call_id, request::jsonb into v_call_id, v_pending
    from billing.stripe_calls
    where kind = 'subscription' and subject_id = v_subscription.stripe_subscription_id and status = 'pending';
    -- The item of a subscription from the old system may have become known meanwhile.
    if found and v_pending - 'item_id' is distinct from v_request - 'item_id' then
        perform billing_private.raise_error('change_pending', format(
            'Subscription %s has a change under way: %s.', v_subscription.stripe_subscription_id, v_pending ->> 'change'
        ));
    elsif v_call_id is null and v_request is not null then
        v_call_id := billing_private.queue_stripe_call(
            p_user_id, 'subscription', v_subscription.stripe_subscription_id, v_request,
            greatest(billing_private.clock(), v_account.updated_at)
        );
    end if;
    return billing_private.as_subscription(p_user_id, v_call_id);
end
$$;

comment on function billing.request_subscription_change(uuid, text, text) is
    'Records how a user wants the subscription changed, before Stripe is asked.';
revoke all on function billing.request_subscription_change(uuid, text, text) from public;
grant execute on function billing.request_subscription_change(uuid, text, text) to billing_api;
