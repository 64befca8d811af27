-- What a payment of a user who was moved back is to lose is taken from the bought credit that the old system has, as far
-- as it goes: it comes back as the payment's lot, for net_payment to claw back. Debt is not repaid from it. The caller
-- has locked and settled the account.
create or replace function billing_private.recall_credits(
    p_account           billing.credit_accounts,
    p_now               timestamptz,
    p_payment_intent_id text,
    p_amount            numeric
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_credit   numeric := billing_private.old_credit(p_account.user_id);
    v_amount   numeric := trim_scale(least(p_amount, v_credit));
    v_debt     numeric := p_account.debt::numeric;
    v_entry_no bigint := p_account.entry_count + 1;
begin
    if (v_amount > 0) is not true then
        return p_account;
    end if;
    insert into legacy_billing.legacy_customers (user_id, bought_credit)
    values (p_account.user_id, v_credit - v_amount);
    p_account.debt := 0;
    p_account := billing_private.book_grant(
        p_account, p_now, 'migration', 'purchase',
        array[(null, v_amount, billing_private.source_priority('purchase'), null, null)]::billing_private.lot[],
        'recall_credits', null, 'payment_intent', p_payment_intent_id, 'Taken back from the old system'
    );
    p_account.debt := v_debt;
    perform billing_private.save_account(p_account);
    update billing.billing_payments
    set grant_no = (
        select grant_no from billing.credit_grants where user_id = p_account.user_id and entry_no = v_entry_no
    )
    where payment_intent_id = p_payment_intent_id;
    return p_account;
end
$$;

comment on function billing_private.recall_credits(billing.credit_accounts, timestamptz, text, numeric) is
    'Takes back from the old system what a payment is to lose; returns the account.';
revoke all on function billing_private.recall_credits(billing.credit_accounts, timestamptz, text, numeric) from public;
