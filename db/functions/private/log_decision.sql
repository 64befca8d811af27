-- The amount is in the details: what moves credits is the action, which has a row of its own. A refused request has no
-- row that its id could lead to.
create or replace function billing_private.log_decision(
    p_asked   billing.approval_requests,
    p_what    text,
    p_actor   uuid,
    p_reason  text,
    p_refusal text,
    p_now     timestamptz
)
returns billing.approval_result
language plpgsql
as $$
begin
    if p_what = 'request_approval' and p_refusal is not null then
        p_asked.approval_id := null;
        p_asked.status := null;
    end if;
    perform billing_private.log_admin_action(
        billing_private.time_ordered_id(p_now), p_now, p_actor, p_asked.user_id, p_what, null, p_reason,
        coalesce(p_refusal, 'done'),
        jsonb_build_object(
            'approval_id', p_asked.approval_id, 'wanted', p_asked.action, 'amount', p_asked.amount,
            'action_id', p_asked.action_id,
            'requested_by', nullif(p_asked.requested_by, p_actor), 'expires_at', p_asked.expires_at,
            'entry_no', p_asked.entry_no, 'tier', p_asked.tier, 'payment_intent_id', p_asked.payment_intent_id,
            'mode', case p_asked.action
                when 'request_refund' then billing_private.refund_mode(p_asked.stripe_refund, p_asked.grant_credits)
            end,
            'idempotency_key', case p_what when 'request_approval' then p_asked.idempotency_key end
        )
    );
    return billing_private.as_approval_result(p_asked, p_refusal, false);
end
$$;

comment on function billing_private.log_decision(billing.approval_requests, text, uuid, text, text, timestamptz) is
    'Logs that an admin asked for an approval or decided about it; returns what became of it.';
revoke all on function billing_private.log_decision(billing.approval_requests, text, uuid, text, text, timestamptz)
    from public;
