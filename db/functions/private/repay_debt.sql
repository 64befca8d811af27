-- The caller has locked and settled the account. Lots that were there before are never taken for debt.
create or replace function billing_private.repay_debt(
    p_account        billing.credit_accounts,
    p_now            timestamptz,
    p_first_grant_no bigint,
    p_operation      text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_repaid numeric;
    v_lot    record;
begin
    for v_lot in
        select grant_no, remaining
        from billing.credit_grants
        where user_id = p_account.user_id and grant_no >= p_first_grant_no and remaining > 0
        order by grant_no
    loop
        v_repaid := least(v_lot.remaining, p_account.debt);
        exit when v_repaid = 0;
        p_account.debt := p_account.debt - v_repaid;
        p_account := billing_private.take_from_lot(
            p_account, p_now, 'debt_repayment', v_lot.grant_no, v_repaid, p_operation
        );
    end loop;
    perform billing_private.save_account(p_account);
    return p_account;
end
$$;

comment on function billing_private.repay_debt(billing.credit_accounts, timestamptz, bigint, text) is
    'Repays debt from the lots from a number on; returns the account.';
revoke all on function billing_private.repay_debt(billing.credit_accounts, timestamptz, bigint, text) from public;
