-- Another subscription, or none, in the place of one that was not paid forfeits the periods that were not granted: the
-- present one is that of the new tier. So does one that was not even charged (unpaid, paused) when it goes on.
-- Otherwise what was missed is granted. A closed account is granted nothing. The caller has locked and settled the
-- account.
create or replace function billing_private.follow_subscription(
    p_account  billing.credit_accounts,
    p_now      timestamptz,
    p_before   text,
    p_after    text,
    p_forfeits boolean
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_moves boolean := p_after is distinct from p_before;
begin
    if v_moves and (p_forfeits or p_account.status = 'closed') then
        p_account.tier := coalesce(p_after, 'free');
    end if;
    if p_account.status = 'closed' then
        perform billing_private.save_account(p_account);
        return p_account;
    elsif p_forfeits then
        p_account.granted_through := greatest(
            p_account.granted_through, (billing_private.period_of(p_now) - interval '1 month')::date
        );
    end if;
    if v_moves then
        return billing_private.move_to_tier(p_account, p_now, coalesce(p_after, 'free'));
    end if;
    return billing_private.catch_up_grants(p_account, p_now);
end
$$;

comment on function billing_private.follow_subscription(billing.credit_accounts, timestamptz, text, text, boolean) is
    'Moves an account to the tier of its subscription, and grants what is due; returns the account.';
revoke all on function billing_private.follow_subscription(
    billing.credit_accounts, timestamptz, text, text, boolean
) from public;
