-- The configuration in the tables as one JSON object, in the form that diff_config and apply_config take.
\ir ../setup.psql

select is(
    (select array_agg(k order by k) from jsonb_object_keys(billing.get_config()) k),
    array['admin_limits', 'model_prices', 'packages', 'settings', 'tiers'], 'five sections'
);
select is(
    billing.get_config() -> 'tiers' -> 'tier_200_1000',
    '{
        "display_name": "Enterprise", "monthly_credits": 1005, "price_cents": 100000, "can_purchase_credits": true,
        "rank": 7, "grant_expires_after": "1 mon", "rollover_cap": null
    }',
    'a tier'
);
select is(
    billing.get_config() -> 'admin_limits',
    '{
        "admin": {"max_credit_adjustment": 1000, "max_daily_total": 5000, "can_refund": false, "approval_above": null},
        "super_admin": {
            "max_credit_adjustment": 100000, "max_daily_total": 500000, "can_refund": true, "approval_above": null
        }
    }',
    'the limits'
);
select is(
    billing.get_config() -> 'model_prices' -> 'gemini-2.5-flash',
    '{"input_per_million": 0.3, "cached_input_per_million": 0.075, "output_per_million": 2.5, "multiplier": 1.5}', 'a price'
);
select is(
    billing.get_config() -> 'packages',
    '{
        "10": {"amount": 10, "price_cents": 1000}, "25": {"amount": 25, "price_cents": 2500},
        "50": {"amount": 50, "price_cents": 5000}, "100": {"amount": 100, "price_cents": 10000},
        "250": {"amount": 250, "price_cents": 25000}, "500": {"amount": 500, "price_cents": 50000}
    }',
    'the packages'
);
select is(
    billing.get_config() -> 'settings',
    '{"default": {
        "reversal_grace": "7 days", "min_purchase": 5, "max_purchase": 10000, "low_balance": 1,
        "depleted_balance": 0.01, "retention": "90 days", "approval_lifetime": "7 days"
    }}',
    'the settings'
);
create temp table before as select billing.get_config() as config;
set local intervalstyle = 'iso_8601';
select is(billing.get_config(), config, 'it does not depend on the session''s settings') from before;
reset intervalstyle;
insert into billing.model_prices values ('gpt-4o', '2025-03-11', 1, 1, 1, 1), ('later', '2025-03-11', 1, 1, 1, 1);
select is(billing.get_config(), config, 'prices that are ahead are not in it') from before;
delete from billing.billing_packages;
select is(billing.get_config() -> 'packages', '{}', 'a section without rows is there all the same');
select is_empty('select * from billing.diff_config(billing.get_config())', 'and it is one that can be applied');

select * from finish();
rollback;
