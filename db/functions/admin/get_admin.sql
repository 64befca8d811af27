-- Left today: what the daily total leaves on this UTC day. Null is no limit; a role without limits may move nothing.
create or replace function billing.get_admin(p_user_id uuid)
returns billing.admin
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_now    timestamptz := billing_private.clock();
    v_role   billing.user_roles;
    v_limits billing.admin_limits;
    v_moved  numeric;
begin
    select * into v_role from billing.user_roles where user_id = p_user_id;
    select * into v_limits from billing.admin_limits where role = v_role.role;
    if not found then
        v_limits.max_credit_adjustment := 0;
        v_limits.max_daily_total := 0;
    end if;
    v_moved := case when v_role.day >= (v_now at time zone 'UTC')::date then v_role.day_total else 0 end;
    return (
        p_user_id, coalesce(v_role.role, 'user'), v_role.granted_by, v_role.granted_at,
        v_limits.max_credit_adjustment, v_limits.max_daily_total, v_moved,
        case when v_limits.max_daily_total is not null then greatest(v_limits.max_daily_total - v_moved, 0) end,
        coalesce(v_limits.can_refund, false), v_limits.approval_above
    )::billing.admin;
end
$$;

comment on function billing.get_admin(uuid) is 'The role of a user, its limits, and what is left of them today.';
revoke all on function billing.get_admin(uuid) from public;
grant execute on function billing.get_admin(uuid) to billing_api;
