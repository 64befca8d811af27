-- Periods that were missed are granted at the old tier first. An upgrade then grants what the new tier's amount is
-- above the tier grants already made in this period; a downgrade counts from the next period. The entry is the
-- upgrade's grant.
-- The difference counts in the admin's limits, like any credits that an admin gives.
-- Locks:   the account row, then the admin's row, until commit.
-- Answers: not_an_admin, admin_limit_exceeded, approval_required, account_closed: success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 account_not_found, unknown_tier, UC409 not_migrated, UC422 reason_required.
create or replace function billing.change_tier(
    p_actor   uuid,
    p_user_id uuid,
    p_tier    text,
    p_reason  text
)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account   billing.credit_accounts;
    v_before    text;
    v_entries   bigint;
    v_upgrade   numeric;
    v_refusal   text;
    v_now       timestamptz;
    v_action_id uuid;
    v_result    billing.admin_result;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    if not exists (select from billing.billing_tiers where name = p_tier) then
        perform billing_private.raise_error('unknown_tier', format('There is no tier %L.', p_tier));
    end if;
    v_account := billing_private.lock_account(p_user_id);
    v_before := v_account.tier;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_action_id := billing_private.time_ordered_id(v_now);
    v_account := billing_private.settle_account(v_account, v_now);
    v_upgrade := billing_private.upgrade_amount(v_account, p_tier, billing_private.period_of(v_now));
    v_refusal := coalesce(
        billing_private.authorize_admin(p_actor, v_upgrade, v_now),
        case v_account.status when 'closed' then 'account_closed' end
    );
    if v_refusal is null then
        perform billing_private.count_admin_total(p_actor, v_upgrade, v_now);
        v_entries := v_account.entry_count;
        v_account := billing_private.move_to_tier(v_account, v_now, p_tier, p_actor);
        select entry_no, amount::numeric, balance_after::numeric
        into v_result.entry_no, v_result.amount, v_result.balance_after
        from billing.credit_ledger
        where user_id = p_user_id and entry_no > v_entries and type = 'tier_grant' and actor = p_actor;
    end if;
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, p_user_id, 'change_tier', nullif(v_upgrade, 0), p_reason,
        coalesce(v_refusal, 'done'),
        jsonb_build_object('before', v_before, 'after', p_tier, 'entry_no', v_result.entry_no)
    );
    return (
        v_refusal is null, v_refusal, v_result.entry_no, coalesce(v_result.amount, 0),
        coalesce(v_result.balance_after, v_account.balance), v_action_id, false
    )::billing.admin_result;
end
$$;

comment on function billing.change_tier(uuid, uuid, text, text) is
    'Moves an account to another tier; an upgrade grants the difference in this period.';
revoke all on function billing.change_tier(uuid, uuid, text, text) from public;
grant execute on function billing.change_tier(uuid, uuid, text, text) to billing_api;
