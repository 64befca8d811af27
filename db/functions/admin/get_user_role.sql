create or replace function billing.get_user_role(p_user_id uuid)
returns text
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return coalesce((select role from billing.user_roles where user_id = p_user_id), 'user');
end
$$;

comment on function billing.get_user_role(uuid) is 'user, admin or super_admin.';
revoke all on function billing.get_user_role(uuid) from public;
grant execute on function billing.get_user_role(uuid) to billing_api;
