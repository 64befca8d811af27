-- Takes what is over the cap from the tier lots that would burn first, and never what a hold needs. Tier credits that a
-- reversal brought back are tier credits.
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
    for v_lot in
        select l.grant_no, l.remaining, sum(l.remaining) over () as unspent
        from billing.credit_grants l
        left join billing.credit_grants origin
            on origin.user_id = p_account.user_id and origin.grant_no = l.from_grant_no
        where l.user_id = p_account.user_id and l.remaining > 0 and coalesce(origin.source, l.source) = 'tier_grant'
        order by l.priority, l.expires_at nulls last, l.grant_no
    loop
        v_excess := coalesce(v_excess, least(v_lot.unspent - p_cap, p_account.balance - p_account.held));
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
