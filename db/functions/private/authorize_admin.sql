-- Locks: the actor's row, until commit: two actions of one admin cannot both pass a limit that only one of them keeps.
-- The caller holds the account's lock already. The amount is absolute; 0 when no credits move. What an admin only asks
-- for is beyond these limits; what two admins agree on is not beyond the second one's.
create or replace function billing_private.authorize_admin(
    p_actor   uuid,
    p_user_id uuid,
    p_amount  numeric,
    p_now     timestamptz,
    p_consent billing_private.consent default null
)
returns text
language plpgsql
as $$
declare
    v_actor  billing.user_roles;
    v_limits billing.admin_limits;
    v_today  date := (p_now at time zone 'UTC')::date;
begin
    select * into v_actor
    from billing.user_roles
    where user_id = p_actor
    for no key update;
    if (v_actor.role in ('admin', 'super_admin')) is not true then
        return 'not_an_admin';
    end if;
    if p_amount = 0 or (p_consent).kind = 'asked' then
        return null;
    end if;
    select * into v_limits from billing.admin_limits where role = v_actor.role;
    if not found then
        return 'admin_limit_exceeded';
    end if;
    -- A day ahead was counted by an action that overtook this one at midnight: it stays the day that counts.
    if v_actor.day < v_today then
        v_actor.day_total := 0;
    end if;
    return case
        when p_amount > v_limits.max_credit_adjustment then 'admin_limit_exceeded'
        when v_actor.day_total + p_amount > v_limits.max_daily_total then 'admin_limit_exceeded'
        when (p_consent).kind = 'approved' then null
        when p_amount > v_limits.approval_above or p_actor = p_user_id then 'approval_required'
    end;
end
$$;

comment on function billing_private.authorize_admin is
    'Why an admin may not move an amount on an account; null when the role and the limits allow it.';
revoke all on function billing_private.authorize_admin from public;
