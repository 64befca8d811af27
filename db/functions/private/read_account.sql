-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing_private.read_account(p_user_id uuid)
returns billing.credit_accounts
language plpgsql
stable
as $$
declare
    v_account billing.credit_accounts;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    select * into v_account
    from billing.credit_accounts
    where user_id = p_user_id;
    if not found then
        perform billing_private.raise_no_account(p_user_id);
    end if;
    return v_account;
end
$$;

comment on function billing_private.read_account(uuid) is 'The account row of a user, as it is stored.';
revoke all on function billing_private.read_account(uuid) from public;
