create or replace function billing_private.no_account(p_user_id uuid)
returns text
language plpgsql
stable
as $$
begin
    return case when billing_private.is_old_user(p_user_id) then 'not_migrated' else 'account_not_found' end;
end
$$;

comment on function billing_private.no_account(uuid) is 'The name of the error for a user without an account.';
revoke all on function billing_private.no_account(uuid) from public;
