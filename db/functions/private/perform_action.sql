-- The one place that knows which function does which action: approvals and previews do what the action itself does.
-- Raises: what the action raises, and UC400 invalid_request.
create or replace function billing_private.perform_action(
    p_actor           uuid,
    p_user_id         uuid,
    p_request         billing_private.admin_request,
    p_reason          text,
    p_idempotency_key text,
    p_consent         billing_private.consent
)
returns billing_private.action_result
language plpgsql
as $$
declare
    v_done   billing.admin_result;
    v_refund billing.refund_result;
begin
    case p_request.action
        when 'adjust_credits', 'admin_grant_credits' then
            perform billing_private.check_move(
                p_request.action, p_actor, p_request.amount, p_reason, p_idempotency_key
            );
            v_done := billing_private.move_by_admin(
                p_request.action, p_actor, p_user_id, p_request.amount, p_reason,
                case p_request.action when 'admin_grant_credits' then p_request.expires_at end, p_idempotency_key,
                p_consent
            );
        when 'reverse_entry' then
            v_done := billing_private.reverse_by_admin(
                p_actor, p_user_id, p_request.entry_no, p_reason, p_idempotency_key, p_consent
            );
        when 'change_tier' then
            v_done := billing_private.change_tier_by_admin(
                p_actor, p_user_id, p_request.tier, p_reason, p_idempotency_key, p_consent
            );
        when 'set_account_status' then
            v_done := billing.set_account_status(p_actor, p_user_id, p_request.status, p_reason, p_idempotency_key);
        when 'admin_release_hold' then
            v_done := billing.admin_release_hold(p_actor, p_user_id, p_request.hold_id, p_reason, p_idempotency_key);
        when 'request_refund' then
            v_refund := billing_private.refund_by_admin(
                p_actor, p_user_id, p_request.amount, p_reason, p_request.stripe_refund, p_request.payment_intent_id,
                p_request.grant_credits, p_request.owe_spent, p_idempotency_key, p_consent
            );
            return (
                v_refund.success, v_refund.reason, v_refund.entry_no, v_refund.amount, v_refund.balance_after,
                v_refund.action_id, v_refund.refund_id, v_refund.call_id, v_refund.clawed, v_refund.spent, v_refund.owed
            )::billing_private.action_result;
        else
            perform billing_private.raise_error('invalid_request', format(
                'p_action is %L: name a function of an admin''s action.', p_request.action
            ));
    end case;
    return (
        v_done.success, v_done.reason, v_done.entry_no, v_done.amount, v_done.balance_after, v_done.action_id,
        null, null, null, null, null
    )::billing_private.action_result;
end
$$;

comment on function billing_private.perform_action is 'Does an admin''s action, whichever it is.';
revoke all on function billing_private.perform_action from public;
