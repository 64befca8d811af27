-- Raises: UC404 account_not_found, UC409 not_migrated.
create or replace function billing_private.raise_no_account(p_user_id uuid)
returns void
language plpgsql
stable
as $$
declare
    v_name text := billing_private.no_account(p_user_id);
begin
    perform billing_private.raise_error(v_name, case v_name
        when 'not_migrated' then format('User %s is served by the old system.', p_user_id)
        else format('User %s has no account.', p_user_id)
    end);
end
$$;

comment on function billing_private.raise_no_account(uuid) is 'Raises for a user without an account.';
revoke all on function billing_private.raise_no_account(uuid) from public;
