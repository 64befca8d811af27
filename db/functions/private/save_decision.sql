create or replace function billing_private.save_decision(p_asked billing.approval_requests)
returns void
language plpgsql
as $$
begin
    update billing.approval_requests
    set status = p_asked.status, decided_by = p_asked.decided_by, decided_at = p_asked.decided_at,
        decision_reason = p_asked.decision_reason, action_id = p_asked.action_id
    where approval_id = p_asked.approval_id;
end
$$;

comment on function billing_private.save_decision(billing.approval_requests) is
    'Writes what was decided about a locked request.';
revoke all on function billing_private.save_decision(billing.approval_requests) from public;
