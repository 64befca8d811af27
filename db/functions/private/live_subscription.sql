-- Raises: UC404 subscription_not_found.
create or replace function billing_private.live_subscription(p_user_id uuid)
returns billing.billing_subscriptions
language plpgsql
stable
as $$
declare
    v_subscription billing.billing_subscriptions;
begin
    select s.* into v_subscription
    from billing_private.subscription_standing(p_user_id) c
    join billing.billing_subscriptions s on s.stripe_subscription_id = c.subscription_id;
    if not found then
        perform billing_private.raise_error(
            'subscription_not_found', format('User %s has no subscription.', p_user_id)
        );
    end if;
    return v_subscription;
end
$$;

comment on function billing_private.live_subscription(uuid) is 'The subscription that counts for a user.';
revoke all on function billing_private.live_subscription(uuid) from public;
