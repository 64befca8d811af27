-- A row is written as its columns type it; a constraint that it breaks is the caller's to name.
create or replace function billing_private.apply_config_change(p_change billing.config_change, p_now timestamptz)
returns void
language plpgsql
as $$
declare
    v_tier     billing.billing_tiers := jsonb_populate_record(null::billing.billing_tiers, p_change.after);
    v_limits   billing.admin_limits := jsonb_populate_record(null::billing.admin_limits, p_change.after);
    v_price    billing.model_prices := jsonb_populate_record(null::billing.model_prices, p_change.after);
    v_package  billing.billing_packages := jsonb_populate_record(null::billing.billing_packages, p_change.after);
    v_settings billing.billing_settings := jsonb_populate_record(null::billing.billing_settings, p_change.after);
begin
    case p_change.section || ' ' || p_change.change
        when 'tiers remove' then
            delete from billing.billing_tiers where name = p_change.name;
        when 'tiers add' then
            v_tier.name := p_change.name;
            insert into billing.billing_tiers select v_tier.*;
        when 'tiers change' then
            update billing.billing_tiers
            set display_name = v_tier.display_name, price_cents = v_tier.price_cents,
                can_purchase_credits = v_tier.can_purchase_credits, rank = v_tier.rank,
                grant_expires_after = v_tier.grant_expires_after, rollover_cap = v_tier.rollover_cap
            where name = p_change.name;
            update billing.billing_tiers
            set monthly_credits = v_tier.monthly_credits
            where name = p_change.name and monthly_credits is distinct from v_tier.monthly_credits;
        when 'admin_limits add' then
            v_limits.role := p_change.name;
            insert into billing.admin_limits select v_limits.*;
        when 'admin_limits remove' then
            delete from billing.admin_limits where role = p_change.name;
        when 'admin_limits change' then
            update billing.admin_limits
            set max_credit_adjustment = v_limits.max_credit_adjustment, max_daily_total = v_limits.max_daily_total,
                can_refund = v_limits.can_refund, approval_above = v_limits.approval_above
            where role = p_change.name;
        when 'model_prices remove' then
            delete from billing.model_prices where model = p_change.name;
        when 'packages add' then
            v_package.name := p_change.name;
            insert into billing.billing_packages select v_package.*;
        when 'packages remove' then
            delete from billing.billing_packages where name = p_change.name;
        when 'packages change' then
            update billing.billing_packages
            set amount = v_package.amount, price_cents = v_package.price_cents
            where name = p_change.name;
        when 'settings add' then
            perform billing_private.raise_error('invalid_config', 'Settings have one row, default.');
        when 'settings change' then
            update billing.billing_settings
            set reversal_grace = v_settings.reversal_grace, min_purchase = v_settings.min_purchase,
                max_purchase = v_settings.max_purchase, low_balance = v_settings.low_balance,
                depleted_balance = v_settings.depleted_balance, retention = v_settings.retention,
                approval_lifetime = v_settings.approval_lifetime
            where name = p_change.name;
        else
            v_price.model := p_change.name;
            v_price.effective_from := p_now;
            insert into billing.model_prices select v_price.*;
    end case;
end
$$;

comment on function billing_private.apply_config_change(billing.config_change, timestamptz) is
    'Applies one change of the configuration.';
revoke all on function billing_private.apply_config_change(billing.config_change, timestamptz) from public;
