-- Applying makes the tables like the file: all of it or nothing, logged, and never over an edit by accident.
\ir ../setup.psql

create function wanted(p_path text[], p_value jsonb) returns jsonb language sql as
$$select jsonb_set(billing.get_config(), p_path, p_value)$$;
create function told(p_wanted jsonb, p_force boolean default false) returns text language sql as $$
    select coalesce(string_agg(concat_ws(' ', change, section, name), ', '), '')
    from billing.apply_config(p_wanted, p_force, chief())
$$;
select billing.open_account(a(), 'tier_2_20') \g /dev/null

select is(told(billing.get_config()), '', 'what is there already is no change');
select is_empty('select * from billing.admin_actions_log', 'and is not logged');

create temp table new as
select jsonb_set(
    jsonb_set(
        wanted('{tiers,gold}', '{"display_name": "Gold", "monthly_credits": 50, "price_cents": 4000, "can_purchase_credits": false,
            "rank": 1, "grant_expires_after": null, "rollover_cap": 10}')
            || '{"settings": {"default": {"reversal_grace": "14 days", "min_purchase": 2.5, "max_purchase": 500,
                "low_balance": 2.5, "depleted_balance": 0.05, "retention": "31 days", "approval_lifetime": "36:00:00"}}}'
            || jsonb_build_object('packages', billing.get_config() -> 'packages' || '{
                "10": {"amount": 11, "price_cents": 1050}, "1000": {"amount": 1000, "price_cents": 95000}
            }'),
        '{tiers,tier_2_20,rank}', '8'
    ),
    '{admin_limits,admin,approval_above}', '100'
) #- '{tiers,tier_50_400}' #- '{model_prices,o3}' #- '{packages,250}' as config;
select is(
    told(config),
    'change admin_limits admin, remove model_prices o3, change packages 10, add packages 1000, remove packages 250, '
    || 'change settings default, add tiers gold, change tiers tier_2_20, remove tiers tier_50_400',
    'changes of every kind, one rank moving to another tier'
) from new;
select is(billing.get_config(), config, 'the tables are like the file') from new;
select is(told(config), '', 'once more is no change') from new;
select rows_are(
    $$
    select target_user_id, admin_user_id, action, reason, outcome, details -> 'forced', details ->> 'login' = session_user
    from billing.admin_actions_log order by reason
    $$,
    $$
    select '00000000-0000-0000-0000-000000000000'::uuid, chief(), 'apply_config', reason, 'done', false, true
    from unnest(array[
        'add packages 1000', 'add tiers gold', 'change admin_limits admin', 'change packages 10',
        'change settings default', 'change tiers tier_2_20', 'remove model_prices o3', 'remove packages 250',
        'remove tiers tier_50_400'
    ]) reason
    $$,
    'each is in the log, under the nil uuid'
);

select rows_are(
    'select name, amount, price_cents from billing.billing_packages order by amount',
    $$values ('10', 11, 1050), ('25', 25, 2500), ('50', 50, 5000), ('100', 100, 10000), ('500', 500, 50000),
        ('1000', 1000, 95000)$$,
    'packages are sold as the file has them'
);
select rows_are(
    $$
    select reversal_grace, min_purchase, max_purchase, low_balance, depleted_balance, retention, approval_lifetime
    from billing.billing_settings
    $$,
    $$values (interval '14 days', 2.5, 500, 2.5, 0.05, interval '31 days', interval '36 hours')$$,
    'settings are what the file says, each of them'
);

-- Amounts and prices.

select is(told(wanted('{tiers,free,monthly_credits}', '9')), 'change tiers free', 'an amount changes');
select is((billing.open_account(b())).balance, 5.00, 'but not in this period');
set local tap.now = '2025-04-01 00:00+00';
select is((billing.open_account(c())).balance, 9.00, 'in the next it does');
select is(told(wanted('{model_prices,gpt-4o,multiplier}', '2')), 'change model_prices gpt-4o', 'a price changes');
select is((billing.deduct_tokens(c(), 'gpt-4o', 1000, 0)).cost, 0.005, 'from then on');
select is(
    (select count(*) from billing.model_prices where model = 'gpt-4o'), 2::bigint, 'the one of before stays known'
);

-- Edits.

create temp table file as select billing.get_config() as config;
update billing.billing_tiers set display_name = 'Edited' where name = 'free';
select throws_ok(
    format('select billing.apply_config(%L)', config), 'UC409', 'config_edited_in_database', 'an edit is not overwritten'
) from file;
select throws_ok(
    format('select billing.apply_config(%L, null)', config), 'UC409', 'config_edited_in_database', 'null does not force'
) from file;
select is(told(billing.get_config()), '', 'pulling it into the file makes peace');
update billing.billing_tiers set display_name = 'Edited again' where name = 'free';
select is(told(config, true), 'change tiers free', 'force overwrites it') from file;
select is(
    (select details -> 'before' ->> 'display_name' from billing.admin_actions_log where (details -> 'forced')::boolean),
    'Edited again', 'and the log keeps what was overwritten'
);

-- All of it or nothing.

select throws_ok(
    format('select billing.apply_config(%L, true)', billing.get_config() #- '{tiers,tier_2_20}'), 'UC409', 'config_in_use',
    'a tier with accounts is not removed, not even by force'
);
insert into billing.billing_subscriptions (
    stripe_subscription_id, user_id, tier, next_tier, billing_interval, status, current_period_start,
    current_period_end, stripe_item_id, stripe_price_id, synced_at, created_at, updated_at
)
values ('sub_1', a(), 'tier_125_800', 'tier_25_200', 'month', 'past_due', now(), now(), 'si_1', 'price_1', now(), now(), now());
select throws_ok(
    format('select billing.apply_config(%L, true)', billing.get_config() #- array['tiers', tier]), 'UC409',
    'config_in_use', 'nor a tier that a subscription pays for: ' || tier
)
from unnest(array['tier_125_800', 'tier_25_200']) tier;
insert into billing.billing_auto_top_ups (user_id, enabled, threshold, package, monthly_cap, updated_at)
values (a(), true, 1, '25', 100, now()), (b(), false, 1, '50', 100, now());
select throws_ok(
    format('select billing.apply_config(%L, true)', billing.get_config() #- '{packages,25}'), 'UC409', 'config_in_use',
    'nor a package that automatic top-ups buy'
);
select is(
    told(billing.get_config() #- '{packages,50}'), 'remove packages 50', 'but one that only a top-up that is off names'
);
create temp table bad as
select what, config from (values
    ('a package for nothing', wanted('{packages,25,price_cents}', '0')),
    ('a package without credits', wanted('{packages,25,amount}', '0')),
    ('a package of 10 places', wanted('{packages,25,amount}', '0.0000000001')),
    ('a package with no amount', wanted('{packages,25,amount}', 'null')),
    ('a package with a bad name', wanted('{packages,Ten credits}', billing.get_config() #> '{packages,25}')),
    ('a least purchase above the most', wanted('{settings,default,min_purchase}', '10000.01')),
    ('a least purchase of parts of a cent', wanted('{settings,default,min_purchase}', '5.001')),
    ('a most purchase that is no number', wanted('{settings,default,max_purchase}', '"NaN"')),
    ('no most purchase', wanted('{settings,default,max_purchase}', 'null')),
    ('a low balance below zero', wanted('{settings,default,low_balance}', '-0.01')),
    ('a low balance of 10 places', wanted('{settings,default,low_balance}', '0.0000000001')),
    ('a depleted balance of nothing', wanted('{settings,default,depleted_balance}', '0')),
    ('no depleted balance', wanted('{settings,default,depleted_balance}', 'null')),
    ('a month that is not kept', wanted('{settings,default,retention}', '"30 days"')),
    ('approvals that no time is left for', wanted('{settings,default,approval_lifetime}', '"0"')),
    ('approvals of yesterday', wanted('{settings,default,approval_lifetime}', '"-1 day"')),
    ('no time for approvals', wanted('{settings,default,approval_lifetime}', 'null')),
    ('no retention', wanted('{settings,default,retention}', 'null')),
    ('a negative amount', wanted('{tiers,free,monthly_credits}', '-1')),
    ('an amount with 10 places', wanted('{tiers,free,monthly_credits}', '0.0000000001')),
    ('an amount that is none', wanted('{tiers,free,monthly_credits}', '"NaN"')),
    ('no name to show', wanted('{tiers,free,display_name}', '" "')),
    ('null where a value must be', wanted('{tiers,free,rank}', 'null')),
    ('a rank twice', wanted('{tiers,free,rank}', '7')),
    ('an expiry in the past', wanted('{tiers,free,grant_expires_after}', '"-1 day"')),
    ('a tier with a bad name', wanted('{tiers,Free tier}', billing.get_config() #> '{tiers,gold}')),
    ('limits for a role that there is not', wanted('{admin_limits,user}', billing.get_config() #> '{admin_limits,admin}')),
    ('a negative price', wanted('{model_prices,gpt-5,input_per_million}', '-1')),
    ('a multiplier of 0', wanted('{model_prices,gpt-5,multiplier}', '0')),
    ('a model without a name', wanted('{model_prices,x y}', billing.get_config() #> '{model_prices,gpt-5}')),
    ('two settings', wanted('{settings,second}', billing.get_config() #> '{settings,default}')),
    ('no grace', wanted('{settings,default,reversal_grace}', '"0"')),
    ('no grace at all', wanted('{settings,default,reversal_grace}', 'null')),
    ('no object', '[]')
) b (what, config);
create temp table before as select billing.get_config() as config, (select count(*) from billing.admin_actions_log) as logged;
select throws_ok(
    format('select billing.apply_config(%L)', jsonb_set(config, '{admin_limits,admin,max_daily_total}', '1', false)), 'UC422',
    'invalid_config', 'refused: ' || what
) from bad;
select is(billing.get_config(), config, 'of a refused file nothing is applied') from before;
select is((select count(*) from billing.admin_actions_log), logged, 'nor logged') from before;
select is_empty('select * from billing.verify_ledger()', 'accounts are as they were');

select * from finish();
rollback;
