-- For the owner of the database only: nobody else may execute it.
-- Raises: UC400 invalid_request, UC409 super_admin_exists.
create or replace function billing.bootstrap_super_admin(p_user_id uuid)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now       timestamptz;
    v_action_id uuid;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    perform billing_private.lock_roles();
    if exists (select from billing.user_roles where role = 'super_admin') then
        perform billing_private.raise_error('super_admin_exists', 'There is a super admin already.');
    end if;
    v_now := billing_private.clock();
    v_action_id := billing_private.time_ordered_id(v_now);
    insert into billing.user_roles (user_id, role, granted_at)
    values (p_user_id, 'super_admin', v_now)
    on conflict (user_id) do nothing;
    update billing.user_roles set role = 'super_admin', granted_by = null, granted_at = v_now where user_id = p_user_id;
    perform billing_private.log_admin_action(
        v_action_id, v_now, null, p_user_id, 'bootstrap_super_admin', null, 'the first super admin', 'done',
        jsonb_build_object('login', session_user)
    );
    return (true, null, null, 0, null, v_action_id, false)::billing.admin_result;
end
$$;

comment on function billing.bootstrap_super_admin(uuid) is 'Makes the first super admin, while there is none.';
revoke all on function billing.bootstrap_super_admin(uuid) from public;
