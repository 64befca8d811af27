-- The caller has locked the account and settled what was due.
create or replace function billing_private.end_hold(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_hold    billing.credit_holds
)
returns billing.credit_accounts
language plpgsql
as $$
begin
    update billing.credit_holds
    set status = 'released', ended_at = p_now
    where user_id = p_account.user_id and hold_id = p_hold.hold_id;
    p_account.held := p_account.held - p_hold.amount;
    -- Lots that lapsed under the hold lose what it kept.
    return billing_private.settle_account(p_account, p_now);
end
$$;

comment on function billing_private.end_hold(billing.credit_accounts, timestamptz, billing.credit_holds) is
    'Gives the credits of an active hold back; returns the account.';
revoke all on function billing_private.end_hold(billing.credit_accounts, timestamptz, billing.credit_holds)
    from public;
