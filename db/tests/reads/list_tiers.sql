-- The tiers that are shipped, the smallest first.
\ir ../setup.psql

select rows_are(
    'select name, monthly_credits, price_cents, can_purchase_credits from billing.list_tiers()',
    $$
    values ('free', 5, 0, false), ('tier_2_20', 25, 2000, false), ('tier_6_50', 55, 5000, false),
        ('tier_12_100', 105, 10000, false), ('tier_25_200', 205, 20000, false), ('tier_50_400', 405, 40000, false),
        ('tier_125_800', 805, 80000, false), ('tier_200_1000', 1005, 100000, true)
    $$,
    'only the largest may purchase credits'
);
update billing.billing_tiers set rank = -1, rollover_cap = 3 where name = 'tier_2_20';
select is(
    (select list_tiers from billing.list_tiers() limit 1),
    ('tier_2_20', 'Plus', 25, 2000, false, -1, interval '1 month', 3)::billing.tier, 'all of a tier, in the order of rank'
);

select * from finish();
rollback;
