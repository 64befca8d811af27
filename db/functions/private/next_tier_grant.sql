-- Nulls: none is to come while the account or its subscription is as it is. A month that is owed already is due at
-- once. The tier is the one that the account will have by then, as far as its subscription says.
create or replace function billing_private.next_tier_grant(p_account billing.credit_accounts, p_now timestamptz)
returns table (at timestamptz, amount numeric)
language plpgsql
stable
as $$
declare
    v_period date := greatest(
        (p_account.granted_through + interval '1 month')::date, billing_private.period_of(p_now)
    );
    v_at     timestamptz := v_period::timestamp at time zone 'UTC';
    v_tier   text := p_account.tier;
    v_amount numeric;
begin
    if p_account.status = 'active' and not billing_private.grants_paused(p_account.user_id) then
        select case when s.cancel_at_period_end then 'free' else s.next_tier end into v_tier
        from billing_private.subscription_standing(p_account.user_id) n
        join billing.billing_subscriptions s on s.stripe_subscription_id = n.subscription_id
        where s.current_period_end <= v_at;
        v_tier := coalesce(v_tier, p_account.tier);
        v_amount := billing_private.tier_amount(v_tier, v_period)
            - billing_private.tier_granted(p_account.user_id, v_period);
        if v_amount > 0 then
            at := greatest(v_at, p_now);
            amount := v_amount;
        end if;
    end if;
    return next;
end
$$;

comment on function billing_private.next_tier_grant(billing.credit_accounts, timestamptz) is
    'When an account gets its next month''s credits, and how many.';
revoke all on function billing_private.next_tier_grant(billing.credit_accounts, timestamptz) from public;
