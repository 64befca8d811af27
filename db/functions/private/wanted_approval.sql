-- Arguments that the action does not take are refused: an approval decides what is on the page, not what was meant.
-- Raises: UC400 invalid_request.
create or replace function billing_private.wanted_approval(
    p_actor             uuid,
    p_user_id           uuid,
    p_action            text,
    p_reason            text,
    p_amount            numeric,
    p_expires_at        timestamptz,
    p_entry_no          bigint,
    p_tier              text,
    p_stripe_refund     boolean,
    p_payment_intent_id text,
    p_grant_credits     boolean,
    p_owe_spent         boolean,
    p_idempotency_key   text
)
returns billing.approval_requests
language plpgsql
immutable
as $$
declare
    v_wanted billing.approval_requests;
    v_money  boolean := coalesce(p_action = 'request_refund' and p_stripe_refund, false);
begin
    if (
        p_action in ('adjust_credits', 'admin_grant_credits', 'reverse_entry', 'request_refund', 'change_tier')
    ) is not true then
        perform billing_private.raise_error('invalid_request', format(
            'p_action is %L: such an action needs no approval.', p_action
        ));
    elsif (p_amount is not null and p_action in ('reverse_entry', 'change_tier'))
        or (p_expires_at is not null and p_action <> 'admin_grant_credits')
        or (p_entry_no is not null and p_action <> 'reverse_entry')
        or (p_tier is not null and p_action <> 'change_tier')
        or (p_payment_intent_id is not null and not v_money)
        or (coalesce(p_stripe_refund, false) and not v_money)
        or (coalesce(p_grant_credits or p_owe_spent, false) and not v_money)
    then
        perform billing_private.raise_error('invalid_request', format(
            'Action %s does not take all of these arguments.', p_action
        ));
    end if;
    perform billing_private.check_texts(p_reference_id => p_payment_intent_id);
    v_wanted.user_id := p_user_id;
    v_wanted.action := p_action;
    v_wanted.amount := p_amount;
    v_wanted.expires_at := p_expires_at;
    v_wanted.entry_no := p_entry_no;
    v_wanted.tier := p_tier;
    v_wanted.stripe_refund := v_money;
    v_wanted.payment_intent_id := p_payment_intent_id;
    v_wanted.grant_credits := coalesce(p_grant_credits, false);
    v_wanted.owe_spent := coalesce(p_owe_spent, false);
    v_wanted.reason := p_reason;
    v_wanted.idempotency_key := p_idempotency_key;
    v_wanted.requested_by := p_actor;
    return v_wanted;
end
$$;

comment on function billing_private.wanted_approval is 'A request for an approval, before anything is known of it.';
revoke all on function billing_private.wanted_approval from public;
