create or replace function billing_private.is_old_user(p_user_id uuid)
returns boolean
language plpgsql
stable
as $$
begin
    return exists (select from legacy_billing.legacy_customers where user_id = p_user_id);
end
$$;

comment on function billing_private.is_old_user(uuid) is 'Whether the old system knows a user.';
revoke all on function billing_private.is_old_user(uuid) from public;
