-- Calls that are still running on holds lose them: what they cost is tracked in the old system. One who was born here
-- becomes known there. A frozen or closed account stays here, where it can't be spent from: the old system knows no
-- such thing, and its endpoints answer from the account.
-- Locks: the user's migration, then the account, until commit.
create or replace function billing_private.rollback_user(p_user_id uuid)
returns billing.rollback
language plpgsql
as $$
declare
    v_migration billing.user_migrations := billing_private.lock_migration(p_user_id);
    v_account   billing.credit_accounts;
    v_now       timestamptz;
    v_period    date;
    v_used      numeric;
    v_rest      numeric := 0::numeric;
    v_credit    numeric := 0::numeric;
    v_left      billing_private.left_over;
    v_result    billing.rollback;
begin
    v_result.user_id := p_user_id;
    if v_migration.status = 'rolled_back' then
        v_result.outcome := 'already_rolled_back';
        return v_result;
    elsif not exists (select from billing.credit_accounts where user_id = p_user_id) then
        v_result.outcome := 'refused';
        v_result.problem := billing_private.no_account(p_user_id);
        return v_result;
    end if;
    v_account := billing_private.lock_account(p_user_id);
    if v_account.status <> 'active' then
        v_result.outcome := 'refused';
        v_result.problem := 'account_' || v_account.status;
        return v_result;
    end if;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_period := billing_private.period_of(v_now);
    v_account := billing_private.settle_account(v_account, v_now);
    update billing.credit_holds
    set status = 'released', ended_at = v_now
    where user_id = p_user_id and status = 'active';
    v_account.held := 0;
    v_account := billing_private.settle_account(v_account, v_now);
    v_account := billing_private.catch_up_grants(v_account, v_now);
    perform billing_private.drop_top_ups(p_user_id, 'moved back to the old system');
    update billing.user_migrations
    set status = 'rolled_back',
        rolled_back_at = v_now,
        returned = v_account.balance,
        period = case when round > 0 then v_period end,
        month_granted = case when round > 0 then billing_private.tier_granted(p_user_id, v_period) end
    where user_id = p_user_id;
    v_used := billing_private.old_usage_of_month(p_user_id, v_period);
    -- Of one who had an account, and waited there all the same, the old system has something itself, and keeps it.
    if v_migration.status = 'none' and billing_private.is_old_user(p_user_id) then
        v_credit := billing_private.old_credit(p_user_id);
        v_rest := greatest(
            0,
            billing_private.old_limit(p_user_id) - v_used - billing_private.tier_granted(p_user_id, v_period)
        );
    end if;
    v_left := billing_private.hand_over(v_account, v_now);
    update billing.credit_accounts set status = 'closed' where user_id = p_user_id;
    v_result.outcome := 'rolled_back';
    v_result.monthly_left := v_left.allowance;
    v_result.bought_credit := v_left.credit;
    v_result.subscriptions := billing_private.hand_over_customer(p_user_id, v_credit + v_left.credit);
    v_result.purchases := billing_private.hand_over_purchases(p_user_id);
    v_result.usage_records := billing_private.hand_over_usage(p_user_id, coalesce(v_migration.last_entry_no, 0));
    perform billing_private.balance_old_usage(
        p_user_id,
        -- Credits of the month that wait for a payment are owed by the old system as they were.
        case when v_account.granted_through >= v_period then v_rest + v_left.allowance end,
        -- While a payment is overdue there, the limit is that of no subscription: what is left is left once it is paid.
        case
            when billing_private.grants_paused(p_user_id) then billing_private.tier_amount(v_account.tier, v_period)
            else billing_private.old_limit(p_user_id)
        end,
        v_used, v_migration.round, v_now
    );
    return v_result;
end
$$;

comment on function billing_private.rollback_user(uuid) is 'Moves one user back to the old system.';
revoke all on function billing_private.rollback_user(uuid) from public;
