-- What is left on an account goes to the old system: what of the tier credits ends with this month, if it was granted,
-- is the rest of the month's allowance there; everything else is bought credit. Each lot has its rollback entry. Debt
-- stays. The caller has locked and settled the account, and recorded that the user was moved back: the old system takes
-- no row before that.
create or replace function billing_private.hand_over(p_account billing.credit_accounts, p_now timestamptz)
returns billing_private.left_over
language plpgsql
as $$
declare
    v_month_end timestamptz := (billing_private.period_of(p_now) + interval '1 month') at time zone 'UTC';
    v_left      billing_private.left_over := (0::numeric, 0::numeric)::billing_private.left_over;
    v_granted   boolean := coalesce(p_account.granted_through >= billing_private.period_of(p_now), false);
    v_monthly   boolean;
    v_lot       record;
begin
    for v_lot in
        select l.grant_no, l.remaining::numeric as remaining, l.expires_at, coalesce(origin.source, l.source) as source
        from billing.credit_grants l
        left join billing.credit_grants origin
            on origin.user_id = p_account.user_id and origin.grant_no = l.from_grant_no
        where l.user_id = p_account.user_id and l.remaining > 0
        order by l.priority, l.expires_at nulls last, l.grant_no
    loop
        v_monthly := v_granted
            and v_lot.source = 'tier_grant'
            and coalesce(v_lot.expires_at <= v_month_end, false);
        p_account := billing_private.take_from_lot(
            p_account, p_now, 'rollback', v_lot.grant_no, v_lot.remaining, 'rollback_users',
            jsonb_build_object('becomes', case when v_monthly then 'allowance' else 'bought_credit' end),
            'Handed to the old system'
        );
        if v_monthly then
            v_left.allowance := v_left.allowance + v_lot.remaining;
        else
            v_left.credit := v_left.credit + v_lot.remaining;
        end if;
    end loop;
    p_account.next_expiry_at := null;
    perform billing_private.save_account(p_account);
    return v_left;
end
$$;

comment on function billing_private.hand_over(billing.credit_accounts, timestamptz) is
    'Empties an account for the old system; returns what that is to give the user instead.';
revoke all on function billing_private.hand_over(billing.credit_accounts, timestamptz) from public;
