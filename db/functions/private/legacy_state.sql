-- For a user of the old system: the plan's limit, the month's usage, bought credit. For one who has left it: the tier's
-- credits, what was used in either system, what is left of credits that end with the month, and everything else.
create or replace function billing_private.legacy_state(p_user_id uuid)
returns billing.legacy_check
language plpgsql
stable
as $$
declare
    v_state   billing.legacy_check;
    v_account billing.account;
    v_check   billing.credit_check;
    v_period  date := billing_private.period_of(billing_private.clock());
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    v_state.migrated := billing_private.lives_here(p_user_id);
    v_state.monthly_usage := (
        select coalesce(sum(u.cost), 0) from billing_private.usage_of_month(p_user_id, v_period) u
    );
    if v_state.migrated then
        v_account := billing.get_account(p_user_id);
        v_state.tier := v_account.tier;
        v_state.monthly_limit := billing_private.tier_amount(v_account.tier, v_period);
        -- Credits under a hold are the first that would burn.
        v_state.remaining := greatest(0, (
            select coalesce(sum(g.remaining), 0)
            from billing.list_grants(p_user_id) g
            where g.source in ('tier_grant', 'reversal')
                and g.expires_at <= (v_period + interval '1 month') at time zone 'UTC'
        ) - v_account.held);
        v_state.bought_credit := v_account.available - v_state.remaining;
        v_check := billing.check_credits(p_user_id);
        v_state.can_run := v_check.can_run;
        v_state.message := v_check.message;
        return v_state;
    end if;
    v_state.tier := billing_private.old_tier(p_user_id);
    v_state.monthly_limit := billing_private.old_limit(p_user_id);
    v_state.remaining := greatest(0, v_state.monthly_limit - v_state.monthly_usage);
    v_state.bought_credit := billing_private.old_credit(p_user_id);
    v_state.can_run := v_state.remaining > 0 or v_state.bought_credit > 0;
    v_state.message := case
        when v_state.can_run then 'OK'
        else format('The limit of %s for this month is reached.', v_state.monthly_limit)
    end;
    return v_state;
end
$$;

comment on function billing_private.legacy_state(uuid) is 'How a user stands, in the terms of the old system.';
revoke all on function billing_private.legacy_state(uuid) from public;
