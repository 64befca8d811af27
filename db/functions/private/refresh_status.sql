-- The caller has locked and settled the account. What was missed while it was frozen is granted when it ends.
create or replace function billing_private.refresh_status(p_account billing.credit_accounts, p_now timestamptz)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_before billing.account_status := p_account.status;
begin
    if v_before <> 'closed' then
        p_account.status := case
            when exists (select from billing.account_freezes where user_id = p_account.user_id) then 'frozen'
            else 'active'
        end;
    end if;
    perform billing_private.tell_status(p_account, p_now, v_before);
    if p_account.status = 'active' and v_before = 'frozen' then
        return billing_private.catch_up_grants(p_account, p_now);
    elsif p_account.status <> v_before then
        perform billing_private.save_account(p_account);
    end if;
    return p_account;
end
$$;

comment on function billing_private.refresh_status(billing.credit_accounts, timestamptz) is
    'Freezes a locked account that has a reason to be frozen, and unfreezes one that has none; returns the account.';
revoke all on function billing_private.refresh_status(billing.credit_accounts, timestamptz) from public;
