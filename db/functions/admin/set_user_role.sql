-- Locks:   role changes among each other, then the rows of the two users, until commit: two super admins who demote
--          each other at once are not both obeyed.
-- Answers: not_a_super_admin, last_super_admin: success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC422 reason_required (when an empty one is given), unknown_role.
create or replace function billing.set_user_role(
    p_actor   uuid,
    p_user_id uuid,
    p_role    text,
    p_reason  text default null
)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_reason    text := coalesce(p_reason, 'role set to ' || p_role);
    v_now       timestamptz;
    v_action_id uuid;
    v_before    text;
    v_refusal   text;
begin
    if (p_role in ('user', 'admin', 'super_admin')) is not true then
        perform billing_private.raise_error('unknown_role', format('Role %L is not one of them.', p_role));
    elsif p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    perform billing_private.check_admin_request(p_actor, v_reason);
    perform billing_private.lock_roles();
    v_now := billing_private.clock();
    v_action_id := billing_private.time_ordered_id(v_now);
    v_before := billing.get_user_role(p_user_id);
    v_refusal := case
        when billing.get_user_role(p_actor) <> 'super_admin' then 'not_a_super_admin'
        when v_before = 'super_admin' and p_role <> 'super_admin'
            and not exists (
                select from billing.user_roles where role = 'super_admin' and user_id <> p_user_id
            )
            then 'last_super_admin'
    end;
    if v_refusal is null then
        insert into billing.user_roles (user_id, role, granted_by, granted_at)
        values (p_user_id, p_role, p_actor, v_now)
        on conflict (user_id) do nothing;
        update billing.user_roles
        set role = p_role, granted_by = p_actor, granted_at = v_now
        where user_id = p_user_id;
    end if;
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, p_user_id, 'set_user_role', null, v_reason, coalesce(v_refusal, 'done'),
        jsonb_build_object('before', v_before, 'after', p_role)
    );
    return (v_refusal is null, v_refusal, null, 0, null, v_action_id, false)::billing.admin_result;
end
$$;

comment on function billing.set_user_role(uuid, uuid, text, text) is
    'Makes a user an admin, a super admin, or a user again.';
revoke all on function billing.set_user_role(uuid, uuid, text, text) from public;
grant execute on function billing.set_user_role(uuid, uuid, text, text) to billing_api;
