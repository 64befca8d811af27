create or replace function billing_private.is_admin(p_user_id uuid)
returns boolean
language plpgsql
stable
as $$
begin
    return exists (
        select from billing.user_roles where user_id = p_user_id and role in ('admin', 'super_admin')
    );
end
$$;

comment on function billing_private.is_admin(uuid) is 'Whether a user is an admin of any kind.';
revoke all on function billing_private.is_admin(uuid) from public;
