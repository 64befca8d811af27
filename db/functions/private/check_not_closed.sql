-- Raises: UC409 account_closed.
create or replace function billing_private.check_not_closed(p_account billing.credit_accounts)
returns void
language plpgsql
stable
as $$
begin
    if p_account.status = 'closed' then
        perform billing_private.raise_error(
            'account_closed', format('The account of user %s is closed.', p_account.user_id)
        );
    end if;
end
$$;

comment on function billing_private.check_not_closed(billing.credit_accounts) is 'Raises when an account is closed.';
revoke all on function billing_private.check_not_closed(billing.credit_accounts) from public;
