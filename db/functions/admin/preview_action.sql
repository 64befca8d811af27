-- The action is named by its function (adjust_credits, admin_grant_credits, reverse_entry, request_refund, change_tier,
-- set_account_status, admin_release_hold) and takes that function's arguments. It runs and is rolled back, so that what
-- is shown is what would happen at this moment. An action that the admin's limits refuse is shown as if another admin
-- had approved it, and can_request says that it can be asked for; if not even that, the reason is why. Asking leaves
-- what is left of the admin's day as it is, as does a refund of money alone: left_today_after is left_today_before.
-- Nothing is logged.
-- Locks:   what the action locks, while it runs.
-- Answers: what the action answers: admin_limit_exceeded, approval_required, refund_not_allowed, account_closed,
--          insufficient_credits, payment_not_found, payment_disputed, refund_exceeds_payment, own_account,
--          account_has_holds, dispute_open; to somebody who is no admin nothing but not_an_admin.
-- Raises:  what the action raises: UC400 invalid_request, UC404 account_not_found, entry_not_found, hold_not_found,
--          unknown_tier, UC409 already_reversed, hold_not_active, not_migrated, UC422 amount_not_positive,
--          amount_not_whole_cents, amount_too_large, amount_too_precise, amount_zero, entry_not_reversible,
--          expiry_not_ahead, unknown_status.
create or replace function billing.preview_action(
    p_actor             uuid,
    p_user_id           uuid,
    p_action            text,
    p_amount            numeric default null,
    p_expires_at        timestamptz default null,
    p_entry_no          bigint default null,
    p_tier              text default null,
    p_status            text default null,
    p_hold_id           uuid default null,
    p_stripe_refund     boolean default false,
    p_payment_intent_id text default null,
    p_grant_credits     boolean default false,
    p_owe_spent         boolean default false
)
returns billing.action_preview
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_request billing_private.admin_request := (
        p_action, p_amount, p_expires_at, p_entry_no, p_tier, p_status, p_hold_id, p_stripe_refund,
        p_payment_intent_id, p_grant_credits, p_owe_spent
    );
    v_preview billing.action_preview;
    v_reason  text;
begin
    perform billing_private.check_admin_request(p_actor, 'preview');
    if billing_private.is_admin(p_actor) is not true then
        v_preview.success := false;
        v_preview.reason := 'not_an_admin';
        v_preview.can_request := false;
        return v_preview;
    end if;
    v_preview := billing_private.try_action(p_actor, p_user_id, v_request, null);
    v_reason := v_preview.reason;
    if v_reason in ('admin_limit_exceeded', 'approval_required', 'refund_not_allowed') then
        v_preview := billing_private.try_action(
            p_actor, p_user_id, v_request, ('asked', null, null)::billing_private.consent
        );
        v_preview.can_request := v_preview.success;
        v_preview.success := false;
        v_preview.reason := coalesce(v_preview.reason, v_reason);
        -- Who approves is who moves it.
        v_preview.left_today_after := v_preview.left_today_before;
    end if;
    return v_preview;
end
$$;

comment on function billing.preview_action is
    'What an admin''s action would do to the account, its lots and the admin''s limits; nothing happens.';
revoke all on function billing.preview_action from public;
grant execute on function billing.preview_action to billing_api;
