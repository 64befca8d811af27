-- What billing.approve_request would do and answer if this admin called it at this moment: the same runs, and is rolled
-- back; nothing is logged. What it answers own_request, admin_limit_exceeded or refund_not_allowed is shown as another
-- admin's approval would be, and can_request says whether one is possible; left_today stays as it is, for whoever
-- approves is who moves it.
-- Locks:   what approving locks, while it runs.
-- Answers: not_an_admin and nothing else to somebody who is no admin; own_request, admin_limit_exceeded,
--          refund_not_allowed, account_closed, insufficient_credits, payment_not_found, payment_disputed,
--          refund_exceeds_payment.
-- Raises:  what approving raises: UC400 invalid_request, UC404 approval_not_found, unknown_tier,
--          UC409 approval_not_open (whoever asks: also where approving again would be answered as before),
--          request_changed, already_reversed, idempotency_key_reused, not_migrated, UC422 amount_too_large,
--          expiry_not_ahead.
create or replace function billing.preview_approval(p_actor uuid, p_approval_id uuid)
returns billing.action_preview
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_asked   billing.approval_requests;
    v_request billing_private.admin_request;
    v_preview billing.action_preview;
    v_reason  text;
begin
    perform billing_private.check_admin_request(p_actor, 'preview');
    v_asked := billing_private.read_approval(p_approval_id);
    v_reason := billing_private.approval_refusal(p_actor, v_asked);
    if v_reason = 'not_an_admin' then
        v_preview.success := false;
        v_preview.reason := v_reason;
        v_preview.can_request := false;
        return v_preview;
    end if;
    v_request := billing_private.as_admin_request(v_asked);
    if v_reason is null then
        v_preview := billing_private.try_action(
            p_actor, v_asked.user_id, v_request,
            ('approved', p_approval_id, v_asked.requested_by)::billing_private.consent
        );
        v_reason := v_preview.reason;
    end if;
    if v_reason in ('own_request', 'admin_limit_exceeded', 'refund_not_allowed') then
        v_preview := billing_private.try_action(
            p_actor, v_asked.user_id, v_request,
            ('asked', p_approval_id, v_asked.requested_by)::billing_private.consent
        );
        v_preview.can_request := v_preview.success;
        v_preview.success := false;
        v_preview.reason := v_reason;
        v_preview.left_today_after := v_preview.left_today_before;
    end if;
    return v_preview;
end
$$;

comment on function billing.preview_approval(uuid, uuid) is
    'What approving a request would do, and whether this admin may approve it; nothing happens.';
revoke all on function billing.preview_approval(uuid, uuid) from public;
grant execute on function billing.preview_approval(uuid, uuid) to billing_api;
