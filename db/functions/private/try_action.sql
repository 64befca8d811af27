-- The action itself runs, and is rolled back with everything that it wrote, its row of the admin log included. With the
-- consent to a request, what approving it does runs.
-- Raises: what the action raises.
create or replace function billing_private.try_action(
    p_actor   uuid,
    p_user_id uuid,
    p_request billing_private.admin_request,
    p_consent billing_private.consent
)
returns billing.action_preview
language plpgsql
as $$
declare
    v_account billing.credit_accounts;
    v_before  billing.account;
    v_lots    billing.grant_lot[];
    v_after   billing.account;
    v_done    billing_private.action_result;
    v_preview billing.action_preview;
begin
    begin
        -- What others do meanwhile waits, and is not shown as the action's doing.
        v_account := billing_private.lock_account(p_user_id);
        v_before := billing.get_account(p_user_id);
        v_lots := array(select l from billing.list_grants(p_user_id) l);
        v_preview.left_today_before := (billing.get_admin(p_actor)).left_today;
        if p_consent.approval_id is null then
            v_done := billing_private.perform_action(p_actor, p_user_id, p_request, 'preview', null, p_consent);
        else
            v_done := billing_private.perform_approval(
                p_actor, billing_private.lock_approval(p_consent.approval_id), v_account, p_consent
            );
        end if;
        v_after := billing.get_account(p_user_id);
        v_preview.left_today_after := (billing.get_admin(p_actor)).left_today;
        v_preview.lots := billing_private.lot_changes(p_user_id, v_lots);
        -- Not UC000: a condition that ends in 000 catches its whole class, and what the action raises is in that.
        raise exception using errcode = 'UC001', message = 'preview';
    exception
        when sqlstate 'UC001' then
            null;
    end;
    v_preview.success := v_done.success;
    v_preview.reason := v_done.reason;
    v_preview.can_request := false;
    v_preview.amount := v_done.amount;
    v_preview.entry_no := v_done.entry_no;
    v_preview.clawed := v_done.clawed;
    v_preview.spent := v_done.spent;
    v_preview.owed := v_done.owed;
    v_preview.balance_before := v_before.balance;
    v_preview.balance_after := v_after.balance;
    v_preview.available_before := v_before.available;
    v_preview.available_after := v_after.available;
    v_preview.held_before := v_before.held;
    v_preview.held_after := v_after.held;
    v_preview.debt_before := v_before.debt;
    v_preview.debt_after := v_after.debt;
    v_preview.tier_before := v_before.tier;
    v_preview.tier_after := v_after.tier;
    v_preview.status_before := v_before.status;
    v_preview.status_after := v_after.status;
    return v_preview;
end
$$;

comment on function billing_private.try_action(
    uuid, uuid, billing_private.admin_request, billing_private.consent
) is 'What an admin''s action would do; nothing of it stays.';
revoke all on function billing_private.try_action(
    uuid, uuid, billing_private.admin_request, billing_private.consent
) from public;
