-- How a wanted configuration differs from the tables, and which rows were edited since the last apply.
\ir ../setup.psql

create function wanted(p_path text[], p_value jsonb) returns jsonb language sql as
$$select jsonb_set(billing.get_config(), p_path, p_value)$$;
create function told(p_wanted jsonb) returns text language sql as $$
    select coalesce(string_agg(concat_ws(' ', change, section, name, case when edited then 'edited' end), ', '), '')
    from billing.diff_config(p_wanted)
$$;

select is(told(billing.get_config()), '', 'the configuration does not differ from itself');
select is(told(wanted('{tiers,free,monthly_credits}', '5.000')), '', 'nor by the way a number is written');
select is(told(wanted('{tiers,free,grant_expires_after}', '"30 days"')), 'change tiers free', 'but by an interval');
select rows_are(
    $$
    select section, name, change, edited, before - array['display_name'], after -> 'monthly_credits'
    from billing.diff_config(wanted('{tiers,free,monthly_credits}', '6'))
    $$,
    $$
    values (
        'tiers', 'free', 'change', false,
        '{"monthly_credits": 5, "price_cents": 0, "can_purchase_credits": false, "rank": 0,
            "grant_expires_after": "1 mon", "rollover_cap": null}'::jsonb,
        6
    )
    $$,
    'before and after'
);
select is(
    told(wanted('{model_prices,new}', billing.get_config() #> '{model_prices,o3}') #- '{model_prices,gpt-5}'),
    'remove model_prices gpt-5, add model_prices new', 'what is new, and what is gone'
);
update billing.billing_tiers set price_cents = 1 where name = 'tier_2_20';
select is(told(billing.get_config()), '', 'an edit in the database is no difference to itself');
select is(told(wanted('{tiers,tier_2_20,price_cents}', '2000')), 'change tiers tier_2_20 edited', 'but one to the file');
delete from billing.model_prices where model = 'o3';
select is(
    told(wanted('{model_prices,o3}', '{"input_per_million": 2, "cached_input_per_million": 0.5, "output_per_million": 8,
        "multiplier": 1.5}')),
    'add model_prices o3 edited', 'as is a row that was deleted there'
);

select rows_are(
    $$
    select section, name, change, edited, before, after
    from billing.diff_config(wanted('{packages,25,price_cents}', '2400'))
    $$,
    $$
    values (
        'packages', '25', 'change', false, '{"amount": 25, "price_cents": 2500}'::jsonb,
        '{"amount": 25, "price_cents": 2400}'::jsonb
    )
    $$,
    'a package is compared by its amount and its price'
);
select is(
    told(wanted('{packages,25,amount}', '25.00')), '', 'the amount of a package however it is written'
);
select is(
    told(wanted('{settings,default,max_purchase}', '9999.99')), 'change settings default', 'what may be bought is a setting'
);

create temp table bad as
select what, config from (values
    ('null', null::jsonb),
    ('no object', '[]'),
    ('nothing', '{}'),
    ('an unknown section', wanted('{limits}', '{}')),
    ('a missing section', billing.get_config() - 'model_prices'),
    ('no packages', billing.get_config() - 'packages'),
    ('packages that are null', wanted('{packages}', 'null')),
    ('a package without a price', billing.get_config() #- '{packages,10,price_cents}'),
    ('a package with a fraction of a cent', wanted('{packages,10,price_cents}', '999.5')),
    ('a setting that is missing', billing.get_config() #- '{settings,default,max_purchase}'),
    ('no low balance', billing.get_config() #- '{settings,default,low_balance}'),
    ('no depleted balance', billing.get_config() #- '{settings,default,depleted_balance}'),
    ('no retention', billing.get_config() #- '{settings,default,retention}'),
    ('a text for the retention', wanted('{settings,default,retention}', '"for ever"')),
    ('no free tier', billing.get_config() #- '{tiers,free}'),
    ('no limits for admins', billing.get_config() #- '{admin_limits,admin}'),
    ('no settings', billing.get_config() #- '{settings,default}'),
    ('a section that is no object', wanted('{model_prices}', '[]')),
    ('a section that is null', wanted('{tiers}', 'null')),
    ('a row that is no object', wanted('{tiers,free}', '5')),
    ('a row that is null', wanted('{tiers,free}', 'null')),
    ('a row that is an array', wanted('{tiers,free}', '[1]')),
    ('a missing member', billing.get_config() #- '{tiers,free,rank}'),
    ('an unknown member', wanted('{tiers,free,rang}', '1')),
    ('a text for a number', wanted('{tiers,free,rank}', '"first"')),
    ('a fraction for a whole number', wanted('{tiers,free,rank}', '1.5')),
    ('a number beyond its type', wanted('{tiers,free,price_cents}', '99999999999')),
    ('a text for an interval', wanted('{tiers,free,grant_expires_after}', '"soon"')),
    ('a text for a boolean', wanted('{tiers,free,can_purchase_credits}', '"perhaps"'))
) b (what, config);
select throws_ok(
    format('select billing.diff_config(%L)', config), 'UC422', 'invalid_config', 'refused: ' || what
) from bad;

select * from finish();
rollback;
