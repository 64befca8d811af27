-- Raises: UC400 invalid_request.
create or replace function billing.legacy_subscription(p_user_id uuid)
returns billing.legacy_subscription
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_state  billing.legacy_check := billing_private.legacy_state(p_user_id);
    v_result billing.legacy_subscription;
begin
    if v_state.migrated then
        select s.status, s.stripe_price_id, s.stripe_subscription_id, s.current_period_start, s.current_period_end
        into v_result.status, v_result.price_id, v_result.stripe_subscription_id, v_result.current_period_start,
            v_result.current_period_end
        from billing_private.subscription_standing(p_user_id) c
        join billing.billing_subscriptions s on s.stripe_subscription_id = c.subscription_id;
    else
        select s.status, s.price_id, s.subscription_id, s.period_start, s.period_end
        into v_result.status, v_result.price_id, v_result.stripe_subscription_id, v_result.current_period_start,
            v_result.current_period_end
        from billing_private.old_subscription(p_user_id) s;
    end if;
    v_result.status := coalesce(v_result.status, 'none');
    v_result.tier := v_state.tier;
    v_result.monthly_limit := v_state.monthly_limit;
    v_result.migrated := v_state.migrated;
    return v_result;
end
$$;

comment on function billing.legacy_subscription(uuid) is
    'The subscription of a user, its tier and its monthly limit, in the terms of the old system.';
revoke all on function billing.legacy_subscription(uuid) from public;
grant execute on function billing.legacy_subscription(uuid) to billing_api;
