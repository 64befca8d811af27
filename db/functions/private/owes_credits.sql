create or replace function billing_private.owes_credits(p_account billing.credit_accounts, p_at timestamptz)
returns boolean
language sql
immutable
as $$
    select p_account.status = 'active'
        and coalesce(p_account.granted_through, '-infinity') < billing_private.period_of(p_at)
$$;

comment on function billing_private.owes_credits(billing.credit_accounts, timestamptz) is
    'Whether an account has not had the tier credits of a month, or waits for them until a payment comes.';
revoke all on function billing_private.owes_credits(billing.credit_accounts, timestamptz) from public;
