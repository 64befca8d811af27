-- The caller has locked and settled the account. What a closed account missed is not granted when it reopens.
create or replace function billing_private.move_to_status(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_status  text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_before billing.account_status := p_account.status;
begin
    if p_status = 'frozen' then
        insert into billing.account_freezes (user_id, cause, created_at)
        values (p_account.user_id, 'admin', p_now)
        on conflict do nothing;
        perform billing_private.drop_top_ups(p_account.user_id, 'account frozen');
    elsif p_status = 'closed' then
        perform billing_private.drop_top_ups(p_account.user_id, 'account closed');
    else
        delete from billing.account_freezes where user_id = p_account.user_id and cause = 'admin';
    end if;
    if p_account.status = 'closed' and p_status <> 'closed' then
        p_account.granted_through := greatest(
            p_account.granted_through, (billing_private.period_of(p_now) - interval '1 month')::date
        );
    end if;
    p_account.status := case
        when p_status = 'closed' then 'closed'
        when exists (select from billing.account_freezes where user_id = p_account.user_id) then 'frozen'
        else 'active'
    end;
    perform billing_private.tell_status(p_account, p_now, v_before);
    if p_account.status = 'active' then
        return billing_private.catch_up_grants(p_account, p_now);
    end if;
    perform billing_private.save_account(p_account);
    return p_account;
end
$$;

comment on function billing_private.move_to_status(billing.credit_accounts, timestamptz, text) is
    'Freezes, unfreezes, closes or reopens a locked account, for an admin; returns the account.';
revoke all on function billing_private.move_to_status(billing.credit_accounts, timestamptz, text) from public;
