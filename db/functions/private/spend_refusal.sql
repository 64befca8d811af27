create or replace function billing_private.spend_refusal(p_account billing.credit_accounts, p_amount numeric)
returns text
language sql
immutable
as $$
    select case
        when p_account.status <> 'active' then 'account_' || p_account.status
        when p_account.balance - p_account.held < p_amount then 'insufficient_credits'
    end
$$;

comment on function billing_private.spend_refusal(billing.credit_accounts, numeric) is
    'Why a settled account may not spend an amount; null when it may.';
revoke all on function billing_private.spend_refusal(billing.credit_accounts, numeric) from public;
