-- Locks: the account row, until commit. Everything that changes an account starts here. p_anywhere is for what Stripe
-- tells: it is taken in for a user who was moved back too, whose migration is locked before.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing_private.lock_account(p_user_id uuid, p_anywhere boolean default false)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_account billing.credit_accounts;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    if p_anywhere then
        perform billing_private.lock_migration(p_user_id);
    end if;
    select * into v_account
    from billing.credit_accounts
    where user_id = p_user_id
    for no key update;
    if not found then
        perform billing_private.raise_no_account(p_user_id);
    elsif v_account.status = 'closed' and not p_anywhere then
        perform billing_private.check_not_rolled_back(v_account);
    end if;
    return v_account;
end
$$;

comment on function billing_private.lock_account(uuid, boolean) is 'The account of a user, locked.';
revoke all on function billing_private.lock_account(uuid, boolean) from public;
