create or replace function billing_private.used_before(p_account billing.credit_accounts, p_at timestamptz)
returns numeric
language plpgsql
stable
as $$
declare
    v_entry_no bigint := billing_private.entry_at(p_account, p_at - interval '1 microsecond');
begin
    return coalesce(
        (
            select used_after
            from billing.credit_ledger
            where user_id = p_account.user_id and entry_no = v_entry_no
        ),
        0
    );
end
$$;

comment on function billing_private.used_before(billing.credit_accounts, timestamptz) is
    'The position on the usage axis just before a time.';
revoke all on function billing_private.used_before(billing.credit_accounts, timestamptz) from public;
