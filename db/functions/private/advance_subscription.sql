-- An ended subscription never comes back, and a higher tier in the same period was paid for: neither depends on when it
-- is heard of. True when what was raised had ended already.
create or replace function billing_private.advance_subscription(
    p_subscription jsonb,
    p_tier         text,
    p_now          timestamptz
)
returns boolean
language plpgsql
as $$
declare
    v_status text := p_subscription ->> 'status';
    v_start  timestamptz := to_timestamp((p_subscription #>> '{items,data,0,current_period_start}')::bigint);
begin
    if v_status in ('canceled', 'incomplete_expired') then
        update billing.billing_subscriptions
        set status = v_status, updated_at = p_now
        where stripe_subscription_id = p_subscription ->> 'id' and status not in ('canceled', 'incomplete_expired');
    elsif v_status in ('active', 'trialing') then
        update billing.billing_subscriptions s
        -- The time of an end stays.
        set tier = p_tier, updated_at = case s.status when 'canceled' then s.updated_at else p_now end
        where s.stripe_subscription_id = p_subscription ->> 'id'
            and s.status in ('active', 'trialing', 'canceled')
            and s.current_period_start = v_start
            and (select rank from billing.billing_tiers where name = p_tier)
                > (select rank from billing.billing_tiers where name = s.tier);
        return found and exists (
            select from billing.billing_subscriptions
            where stripe_subscription_id = p_subscription ->> 'id' and status = 'canceled'
        );
    end if;
    return false;
end
$$;

comment on function billing_private.advance_subscription(jsonb, text, timestamptz) is
    'Takes from a subscription in an event what holds whenever it is heard of.';
revoke all on function billing_private.advance_subscription(jsonb, text, timestamptz) from public;
