create or replace function billing_private.is_rolled_back(p_user_id uuid)
returns boolean
language plpgsql
stable
as $$
begin
    return exists (select from billing.user_migrations where user_id = p_user_id and status = 'rolled_back');
end
$$;

comment on function billing_private.is_rolled_back(uuid) is
    'Whether a user was moved back: the account is history, and the old system serves the user.';
revoke all on function billing_private.is_rolled_back(uuid) from public;
