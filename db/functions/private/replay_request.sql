-- Raises: UC409 idempotency_key_reused.
create or replace function billing_private.replay_request(
    p_asked  billing.approval_requests,
    p_wanted billing.approval_requests,
    p_amount numeric
)
returns billing.approval_result
language plpgsql
stable
as $$
begin
    if (
        p_asked.action, p_asked.expires_at, p_asked.entry_no, p_asked.tier, p_asked.stripe_refund,
        p_asked.payment_intent_id, p_asked.grant_credits, p_asked.owe_spent, p_asked.amount
    )
        is distinct from
        (
            p_wanted.action, p_wanted.expires_at, p_wanted.entry_no, p_wanted.tier, p_wanted.stripe_refund,
            p_wanted.payment_intent_id, p_wanted.grant_credits, p_wanted.owe_spent,
            -- Of a reversal or a change of tier the amount was found out.
            case when p_asked.action in ('reverse_entry', 'change_tier') then p_asked.amount else p_amount end
        )
    then
        perform billing_private.raise_error('idempotency_key_reused', format(
            'Key %L of user %s belongs to request %s.', p_asked.idempotency_key, p_asked.user_id, p_asked.approval_id
        ));
    end if;
    return billing_private.as_approval_result(p_asked, null, true);
end
$$;

comment on function billing_private.replay_request is 'The request for an approval that has the key.';
revoke all on function billing_private.replay_request from public;
