-- Debt that was repaid in the meantime is given back as credits. The caller has locked and settled the account.
create or replace function billing_private.change_debt(
    p_account           billing.credit_accounts,
    p_now               timestamptz,
    p_amount            numeric,
    p_payment_intent_id text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_forgiven numeric := least(p_account.debt, greatest(-p_amount, 0));
    v_repaid   numeric := greatest(-p_amount, 0) - v_forgiven;
begin
    if p_amount = 0 then
        return p_account;
    end if;
    p_account.debt := p_account.debt + greatest(p_amount, 0) - v_forgiven;
    p_account.updated_at := p_now;
    if v_repaid > 0 then
        return billing_private.book_grant(
            p_account, p_now, 'refund', 'refund',
            array[(null, v_repaid, billing_private.source_priority('purchase'), null, null)]::billing_private.lot[],
            'net_payment', null, 'payment_intent', p_payment_intent_id,
            format('Given back: debt repaid for payment %s', p_payment_intent_id)
        );
    end if;
    perform billing_private.save_account(p_account);
    return p_account;
end
$$;

comment on function billing_private.change_debt(billing.credit_accounts, timestamptz, numeric, text) is
    'Adds to the debt of a locked account, or takes from it; returns the account.';
revoke all on function billing_private.change_debt(billing.credit_accounts, timestamptz, numeric, text) from public;
