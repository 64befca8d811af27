-- Locks: the actor's row, until commit. The caller holds the account's lock.
create or replace function billing_private.authorize_refund(
    p_actor   uuid,
    p_user_id uuid,
    p_amount  numeric,
    p_mode    text,
    p_now     timestamptz,
    p_consent billing_private.consent
)
returns text
language plpgsql
as $$
declare
    v_refusal text := billing_private.authorize_admin(p_actor, p_user_id, 0, p_now);
    v_limits  billing.admin_limits;
begin
    if v_refusal is not null or (p_consent).kind = 'asked' then
        return v_refusal;
    end if;
    select l.* into v_limits
    from billing.user_roles r
    join billing.admin_limits l on l.role = r.role
    where r.user_id = p_actor;
    return case
        when v_limits.can_refund is not true then 'refund_not_allowed'
        when p_mode <> 'money' then billing_private.authorize_admin(p_actor, p_user_id, p_amount, p_now, p_consent)
        when (p_consent).kind = 'approved' then null
        when p_amount > v_limits.approval_above or p_actor = p_user_id then 'approval_required'
    end;
end
$$;

comment on function billing_private.authorize_refund is
    'Why an admin may not refund an amount to a user; null when the role and the limits allow it.';
revoke all on function billing_private.authorize_refund from public;
