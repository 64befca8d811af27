create or replace function billing_private.approval_refusal(p_actor uuid, p_asked billing.approval_requests)
returns text
language plpgsql
stable
as $$
begin
    return case
        when billing_private.is_admin(p_actor) is not true then 'not_an_admin'
        when p_actor in (p_asked.requested_by, p_asked.user_id) then 'own_request'
    end;
end
$$;

comment on function billing_private.approval_refusal(uuid, billing.approval_requests) is
    'Why it is not for a user to approve a request, whatever the limits; null when it is.';
revoke all on function billing_private.approval_refusal(uuid, billing.approval_requests) from public;
