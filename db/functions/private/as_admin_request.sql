create or replace function billing_private.as_admin_request(p_asked billing.approval_requests)
returns billing_private.admin_request
language plpgsql
immutable
as $$
begin
    return (
        p_asked.action, p_asked.amount, p_asked.expires_at, p_asked.entry_no, p_asked.tier, null, null,
        p_asked.stripe_refund, p_asked.payment_intent_id, p_asked.grant_credits, p_asked.owe_spent
    )::billing_private.admin_request;
end
$$;

comment on function billing_private.as_admin_request(billing.approval_requests) is
    'The action that a request asks for.';
revoke all on function billing_private.as_admin_request(billing.approval_requests) from public;
