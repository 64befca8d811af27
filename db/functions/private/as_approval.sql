create or replace function billing_private.as_approval(p_asked billing.approval_requests)
returns billing.approval
language plpgsql
volatile
as $$
begin
    return (
        p_asked.approval_id, p_asked.user_id, p_asked.action, p_asked.amount, p_asked.expires_at, p_asked.entry_no,
        p_asked.tier, p_asked.from_tier, p_asked.stripe_refund, p_asked.payment_intent_id, p_asked.grant_credits,
        p_asked.owe_spent, p_asked.reason, billing_private.approval_status(p_asked, billing_private.clock()),
        p_asked.requested_by, p_asked.requested_at, p_asked.open_until, p_asked.decided_by, p_asked.decided_at,
        p_asked.decision_reason, p_asked.action_id
    )::billing.approval;
end
$$;

comment on function billing_private.as_approval(billing.approval_requests) is
    'A request for an approval, as the SQL API tells it.';
revoke all on function billing_private.as_approval(billing.approval_requests) from public;
