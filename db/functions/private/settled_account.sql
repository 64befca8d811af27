-- The row as a settlement at that time would leave it, without its ledger position: nothing is written.
create or replace function billing_private.settled_account(p_account billing.credit_accounts, p_at timestamptz)
returns billing.credit_accounts
language plpgsql
stable
as $$
declare
    v_gone record;
begin
    if p_account.next_expiry_at <= p_at then
        select
            coalesce(sum(amount) filter (where kind = 'expire'), 0) as expired,
            coalesce(sum(amount) filter (where kind = 'hold'), 0) as released
        into v_gone
        from billing_private.settlement_plan(p_account, p_at);
        p_account.balance := p_account.balance - v_gone.expired;
        p_account.held := p_account.held - v_gone.released;
        p_account.next_expiry_at := billing_private.next_expiry(p_account.user_id, p_at);
    end if;
    return p_account;
end
$$;

comment on function billing_private.settled_account(billing.credit_accounts, timestamptz) is
    'What an account holds at a time, as if it were settled.';
revoke all on function billing_private.settled_account(billing.credit_accounts, timestamptz) from public;
