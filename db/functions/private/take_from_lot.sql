-- The account is settled, so the lot's remaining credits are exact.
create or replace function billing_private.take_from_lot(
    p_account     billing.credit_accounts,
    p_now         timestamptz,
    p_type        text,
    p_grant_no    bigint,
    p_amount      numeric,
    p_operation   text,
    p_metadata    jsonb default null,
    p_description text default null
)
returns billing.credit_accounts
language plpgsql
as $$
begin
    update billing.credit_grants
    set remaining = remaining - p_amount
    where user_id = p_account.user_id and grant_no = p_grant_no;
    return billing_private.append_entry(
        p_account, p_now, p_type, -p_amount, 0, p_operation,
        p_description => p_description, p_metadata => p_metadata, p_grant_no => p_grant_no
    );
end
$$;

comment on function billing_private.take_from_lot is
    'Takes credits from a named lot (expiry, clawback, debt repayment) and returns the account after it.';
revoke all on function billing_private.take_from_lot from public;
