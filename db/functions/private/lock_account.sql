-- Locks: the account row, until commit. Everything that changes an account starts here.
-- Raises: UC400 invalid_request, UC404 account_not_found.
create or replace function billing_private.lock_account(p_user_id uuid)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_account billing.credit_accounts;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    select * into v_account
    from billing.credit_accounts
    where user_id = p_user_id
    for no key update;
    if not found then
        perform billing_private.raise_error('account_not_found', format('User %s has no account.', p_user_id));
    end if;
    return v_account;
end
$$;

comment on function billing_private.lock_account(uuid) is 'The account of a user, locked.';
revoke all on function billing_private.lock_account(uuid) from public;
