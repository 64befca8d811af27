-- p_account is as if settled; the caller holds the locks.
create or replace function billing_private.top_up_is_due(
    p_account billing.credit_accounts,
    p_top_up  billing.billing_auto_top_ups,
    p_now     timestamptz
)
returns boolean
language plpgsql
stable
as $$
declare
    v_price bigint := (select price_cents::bigint from billing.billing_packages where name = p_top_up.package);
begin
    return coalesce(
        p_top_up.enabled
        and p_account.status = 'active'
        and p_account.balance - p_account.held < p_top_up.threshold
        and coalesce(p_top_up.retry_after <= p_now, true)
        and (select can_purchase_credits from billing.billing_tiers where name = p_account.tier)
        and not exists (
            select from billing.credit_purchases
            where user_id = p_account.user_id and kind = 'auto_top_up'
                and status in ('pending', 'open', 'processing')
        )
        and billing_private.topped_up_this_month(p_account.user_id, p_now) * 100 + v_price
            <= p_top_up.monthly_cap * 100,
        false
    );
end
$$;

comment on function billing_private.top_up_is_due(
    billing.credit_accounts, billing.billing_auto_top_ups, timestamptz
) is 'Whether an automatic top-up is to charge.';
revoke all on function billing_private.top_up_is_due(
    billing.credit_accounts, billing.billing_auto_top_ups, timestamptz
) from public;
