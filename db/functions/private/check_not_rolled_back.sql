-- Raises: UC409 not_migrated.
create or replace function billing_private.check_not_rolled_back(p_account billing.credit_accounts)
returns void
language plpgsql
stable
as $$
begin
    if p_account.status = 'closed' and billing_private.is_rolled_back(p_account.user_id) then
        perform billing_private.raise_error(
            'not_migrated', format('User %s was moved back to the old system.', p_account.user_id)
        );
    end if;
end
$$;

comment on function billing_private.check_not_rolled_back(billing.credit_accounts) is
    'Raises when an account is only history, because its user was moved back to the old system.';
revoke all on function billing_private.check_not_rolled_back(billing.credit_accounts) from public;
