create or replace function billing_private.as_account_match(
    p_account  billing.credit_accounts,
    p_now      timestamptz,
    p_found_by text
)
returns billing.account_match
language plpgsql
stable
as $$
declare
    v_account billing.credit_accounts := billing_private.settled_account(
        p_account, greatest(p_now, p_account.updated_at)
    );
begin
    return (
        v_account.user_id, v_account.tier, v_account.status, v_account.balance, v_account.held,
        v_account.balance - v_account.held, v_account.debt, v_account.entry_count, v_account.created_at,
        v_account.updated_at, billing.get_user_reference(v_account.user_id), p_found_by
    )::billing.account_match;
end
$$;

comment on function billing_private.as_account_match(billing.credit_accounts, timestamptz, text) is
    'An account row as a search tells it.';
revoke all on function billing_private.as_account_match(billing.credit_accounts, timestamptz, text) from public;
