-- How a request ends without its action: declined or withdrawn, by the function of that name. The caller holds the
-- request's lock.
-- Raises: UC409 approval_not_open.
create or replace function billing_private.dismiss_request(
    p_asked    billing.approval_requests,
    p_function text,
    p_status   text,
    p_actor    uuid,
    p_reason   text,
    p_refusal  text,
    p_now      timestamptz
)
returns billing.approval_result
language plpgsql
as $$
begin
    if p_refusal is null then
        if p_asked.status = p_status and p_asked.decided_by = p_actor then
            return billing_private.as_approval_result(p_asked, null, true);
        end if;
        perform billing_private.check_approval_open(p_asked, p_now);
        p_asked := billing_private.save_decision(p_asked, p_status, p_actor, p_reason, p_now);
    end if;
    return billing_private.log_decision(
        p_asked, p_function, p_actor, coalesce(p_reason, p_status), p_refusal, p_now
    );
end
$$;

comment on function billing_private.dismiss_request is 'Ends a request that is not approved, and logs it.';
revoke all on function billing_private.dismiss_request from public;
