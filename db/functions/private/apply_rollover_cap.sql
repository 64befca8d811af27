-- Takes what is over the cap from the tier lots that would burn first, and never what a hold needs.
create or replace function billing_private.apply_rollover_cap(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_cap     numeric
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_excess numeric;
    v_taken  numeric;
    v_lot    record;
begin
    -- least() passes over a null: without a cap it would take all that no hold needs.
    if p_cap is null then
        return p_account;
    end if;
    v_excess := least(
        (
            select sum(remaining)
            from billing.credit_grants
            where user_id = p_account.user_id and source = 'tier_grant' and remaining > 0
        ) - p_cap,
        p_account.balance - p_account.held
    );
    for v_lot in
        select grant_no, remaining
        from billing.credit_grants
        where user_id = p_account.user_id and source = 'tier_grant' and remaining > 0
        order by priority, expires_at nulls last, grant_no
    loop
        v_taken := least(v_lot.remaining, v_excess);
        exit when (v_taken > 0) is not true;
        v_excess := v_excess - v_taken;
        p_account := billing_private.take_from_lot(
            p_account, p_now, 'expiry', v_lot.grant_no, v_taken, 'grant_tier_credits',
            jsonb_build_object('rollover_cap', p_cap)
        );
    end loop;
    return p_account;
end
$$;

comment on function billing_private.apply_rollover_cap(billing.credit_accounts, timestamptz, numeric) is
    'Expires unspent tier credits above a cap (null: no cap) and returns the account.';
revoke all on function billing_private.apply_rollover_cap(billing.credit_accounts, timestamptz, numeric) from public;
