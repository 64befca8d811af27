-- Another admin than the one who asked, and than the user whose account it is, does the action under the own limits,
-- but for approval_above: two have agreed. The ledger and the log name who approved; the log's details who asked. What
-- the action answers leaves the request open.
-- Locks:   the account row, the request, then the admin's row, until commit.
-- Replay:  approving again what one has approved returns the first result with replayed = true.
-- Answers: not_an_admin, own_request, admin_limit_exceeded, refund_not_allowed, account_closed, insufficient_credits,
--          payment_not_found, payment_disputed, refund_exceeds_payment: success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 approval_not_found, UC409 approval_not_open, request_changed (a change of tier
--          that would be from another tier, or grant another amount; who asked is no admin any more),
--          UC422 reason_required, and what the action raises when things have changed otherwise: UC404 unknown_tier,
--          UC409 already_reversed, idempotency_key_reused (the request's id is the action's key), not_migrated,
--          UC422 amount_too_large, expiry_not_ahead.
create or replace function billing.approve_request(p_actor uuid, p_approval_id uuid, p_reason text)
returns billing.approval_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_asked   billing.approval_requests;
    v_account billing.credit_accounts;
    v_done    billing_private.action_result;
    v_refusal text;
    v_now     timestamptz;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    v_asked := billing_private.read_approval(p_approval_id);
    v_account := billing_private.lock_account(v_asked.user_id);
    v_asked := billing_private.lock_approval(p_approval_id);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    -- The admin's row is locked by the action, after the payment of a refund.
    v_refusal := billing_private.approval_refusal(p_actor, v_asked);
    if v_refusal is not null then
        return billing_private.log_decision(v_asked, 'approve_request', p_actor, p_reason, v_refusal, v_now);
    elsif v_asked.status = 'approved' and v_asked.decided_by = p_actor then
        return billing_private.as_approval_result(v_asked, null, true);
    end if;
    v_done := billing_private.perform_approval(
        p_actor, v_asked, v_account, ('approved', p_approval_id, v_asked.requested_by)::billing_private.consent
    );
    if not v_done.success then
        return billing_private.as_approval_result(v_asked, v_done.reason, false);
    end if;
    v_asked := billing_private.save_decision(v_asked, 'approved', p_actor, p_reason, v_now, v_done.action_id);
    return billing_private.log_decision(v_asked, 'approve_request', p_actor, p_reason, null, v_now);
end
$$;

comment on function billing.approve_request(uuid, uuid, text) is
    'Does what another admin has asked for, within the own limits.';
revoke all on function billing.approve_request(uuid, uuid, text) from public;
grant execute on function billing.approve_request(uuid, uuid, text) to billing_api;
