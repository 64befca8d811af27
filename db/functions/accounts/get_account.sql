-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.get_account(p_user_id uuid)
returns billing.account
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
begin
    perform billing_private.check_not_rolled_back(v_account);
    return billing_private.as_account(
        billing_private.settled_account(v_account, greatest(billing_private.clock(), v_account.updated_at))
    );
end
$$;

comment on function billing.get_account(uuid) is 'The account of a user, as if it were settled.';
revoke all on function billing.get_account(uuid) from public;
grant execute on function billing.get_account(uuid) to billing_api;
