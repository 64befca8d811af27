-- Grants what is missing up to the tier's amount for one period: all of it, or the difference of an upgrade. A lot that
-- would have expired already is skipped. Before it, unspent tier credits above the tier's rollover cap expire.
-- The caller has locked and settled the account.
create or replace function billing_private.grant_tier_credits(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_period  date,
    p_actor   uuid default null
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_period     text := to_char(p_period, 'YYYY-MM');
    v_start      timestamptz := p_period::timestamp at time zone 'UTC';
    v_granted    numeric;
    v_amount     numeric;
    v_armed      numeric;
    v_expires_at timestamptz;
    v_tier       record;
begin
    select grant_expires_after, rollover_cap, display_name into v_tier
    from billing.billing_tiers
    where name = p_account.tier;
    v_expires_at := (v_start at time zone 'UTC' + v_tier.grant_expires_after) at time zone 'UTC';
    v_granted := billing_private.tier_granted(p_account.user_id, p_period);
    v_amount := billing_private.tier_amount(p_account.tier, p_period) - v_granted;
    if v_amount > 0 and coalesce(v_expires_at > p_now, true) then
        if v_granted = 0 then
            -- What the cap takes, the grant gives back: it is the balance after both that may be told.
            v_armed := p_account.alert_below;
            p_account.alert_below := null;
            p_account := billing_private.apply_rollover_cap(p_account, p_now, v_tier.rollover_cap);
            p_account.alert_below := v_armed;
        end if;
        p_account.last_grant_at := p_now;
        p_account := billing_private.book_grant(
            p_account, p_now, 'tier_grant', 'tier_grant',
            array[(null, v_amount, billing_private.source_priority('tier_grant'), v_expires_at, null)]
                ::billing_private.lot[],
            -- Up to which amount: it only ever rises within a period, whatever becomes of the tier's name. It begins
            -- anew for a user who was migrated within the month.
            'grant_tier_credits',
            v_period || case when v_granted > 0 then '/' || trim_scale(v_granted + v_amount) else '' end || coalesce(
                (
                    select '/' || round
                    from billing.user_migrations
                    where user_id = p_account.user_id and period = p_period and round > 0
                ),
                ''
            ),
            'period', v_period, format('%s credits of %s', v_tier.display_name, v_period), null, p_actor
        );
    end if;
    return p_account;
end
$$;

comment on function billing_private.grant_tier_credits is
    'Brings the tier grants of one period up to the amount of the account''s tier; returns the account.';
revoke all on function billing_private.grant_tier_credits from public;
