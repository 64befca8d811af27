create or replace function billing_private.as_subscription(p_user_id uuid, p_call_id uuid default null)
returns billing.subscription
language plpgsql
stable
as $$
declare
    v_account      billing.credit_accounts := billing_private.read_account(p_user_id);
    v_subscription billing.billing_subscriptions;
begin
    select s.* into v_subscription
    from billing_private.subscription_standing(p_user_id) c
    join billing.billing_subscriptions s on s.stripe_subscription_id = c.subscription_id;
    return (
        p_user_id, v_subscription.stripe_subscription_id, coalesce(v_subscription.tier, v_account.tier),
        v_subscription.next_tier, v_subscription.billing_interval, coalesce(v_subscription.status, 'none'),
        coalesce(v_subscription.cancel_at_period_end, false), v_subscription.current_period_start,
        v_subscription.current_period_end,
        coalesce(p_call_id, billing_private.pending_call('subscription', v_subscription.stripe_subscription_id))
    )::billing.subscription;
end
$$;

comment on function billing_private.as_subscription(uuid, uuid) is 'A user''s subscription as the SQL API tells it.';
revoke all on function billing_private.as_subscription(uuid, uuid) from public;
