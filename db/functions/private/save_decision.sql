create or replace function billing_private.save_decision(
    p_asked     billing.approval_requests,
    p_status    text,
    p_actor     uuid,
    p_reason    text,
    p_now       timestamptz,
    p_action_id uuid default null
)
returns billing.approval_requests
language plpgsql
as $$
begin
    p_asked.status := p_status;
    p_asked.decided_by := p_actor;
    p_asked.decided_at := p_now;
    p_asked.decision_reason := p_reason;
    p_asked.action_id := p_action_id;
    update billing.approval_requests
    set status = p_asked.status, decided_by = p_asked.decided_by, decided_at = p_asked.decided_at,
        decision_reason = p_asked.decision_reason, action_id = p_asked.action_id
    where approval_id = p_asked.approval_id;
    return p_asked;
end
$$;

comment on function billing_private.save_decision is 'Writes what was decided about a locked request; returns it.';
revoke all on function billing_private.save_decision from public;
