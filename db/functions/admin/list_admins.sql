create or replace function billing.list_admins()
returns setof billing.admin
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_user_id uuid;
begin
    for v_user_id in
        select user_id from billing.user_roles where role in ('admin', 'super_admin') order by role desc, user_id
    loop
        return next billing.get_admin(v_user_id);
    end loop;
end
$$;

comment on function billing.list_admins() is 'Who is an admin, super admins first, with the limits of each.';
revoke all on function billing.list_admins() from public;
grant execute on function billing.list_admins() to billing_api;
