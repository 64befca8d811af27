-- What approving and its preview share: the action of a request, if the request is open and its action what was asked
-- for. The caller holds the locks of the account and of the request.
-- Raises: UC409 approval_not_open, request_changed, idempotency_key_reused, and what the action raises.
create or replace function billing_private.perform_approval(
    p_actor   uuid,
    p_asked   billing.approval_requests,
    p_account billing.credit_accounts,
    p_consent billing_private.consent
)
returns billing_private.action_result
language plpgsql
as $$
declare
    v_done billing_private.action_result;
begin
    perform billing_private.check_approval_open(
        p_asked, greatest(billing_private.clock(), p_account.updated_at)
    );
    if billing_private.is_admin(p_asked.requested_by) is not true then
        perform billing_private.raise_error('request_changed', 'Who asked is no admin any more.');
    end if;
    v_done := billing_private.perform_action(
        p_actor, p_asked.user_id, billing_private.as_admin_request(p_asked), p_asked.reason,
        p_asked.approval_id::text, p_consent
    );
    if not v_done.success then
        return v_done;
    elsif p_asked.action = 'change_tier'
        and (p_asked.from_tier, coalesce(p_asked.amount, 0)) is distinct from (p_account.tier::text, v_done.amount)
    then
        perform billing_private.raise_error('request_changed', format(
            'Asked was to move from %s to %s with a grant of %s; it would be from %s with %s.', p_asked.from_tier,
            p_asked.tier, coalesce(p_asked.amount, 0), p_account.tier, v_done.amount
        ));
    end if;
    -- What was done before under the request's id was not this.
    perform
    from billing.admin_actions_log
    where target_user_id = p_asked.user_id
        and action_id = v_done.action_id
        and details ->> 'approval_id' = p_asked.approval_id::text;
    if not found then
        perform billing_private.raise_error('idempotency_key_reused', format(
            'Key %L of user %s belongs to action %s.', p_asked.approval_id, p_asked.user_id, v_done.action_id
        ));
    end if;
    return v_done;
end
$$;

comment on function billing_private.perform_approval is 'Does what a request asks for, or says why not.';
revoke all on function billing_private.perform_approval from public;
