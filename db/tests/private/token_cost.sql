-- The cost of a call is exact, rounded once, up, at the ninth place.
\ir ../setup.psql

create function cost(p_prompt bigint, p_completion bigint, p_cached bigint default 0, p_model text default 'test')
returns numeric language sql as
$$select cost from billing_private.token_cost(p_model, p_prompt, p_completion, p_cached, billing_private.clock())$$;

insert into billing.model_prices values ('test', '2025-01-01', 0.0004, 0.0001, 0.0003, 1), ('dear', '2025-01-01', 1000000, 0, 0, 1000);
select is(cost(0, 0), 0::numeric, 'nothing costs nothing');
select is(cost(1, 0), 0.000000001, '0.4 of the ninth place is rounded up, not off');
select is(cost(10, 0), 0.000000004, 'what is exact is not rounded');
select is(cost(11, 0), 0.000000005, '4.4 is 5');
select is(cost(1, 1), 0.000000001, '0.4 + 0.3 is 1: the sum is rounded, not its parts');
select is(cost(2, 1), 0.000000002, '0.8 + 0.3 is 2');
select is(cost(10, 0, 10), 0.000000001, 'cached tokens at their own price');
select is(cost(10, 10, 4), 0.000000006, '6 × 0.4 + 4 × 0.1 + 10 × 0.3 = 5.8');
select is(cost(1000000000000, 0, 0, 'dear'), 1000000000000000::numeric, 'the largest cost is exact too');
select is(cost(1000000000000, 1000000000000), 700.000000000, 'and has no more places than it needs');
select is(scale(cost(1000000000000, 1000000000000)), 0, 'not even zeros');
select is(cost(1, 1, 0, 'none'), null, 'no price, no cost');
select is(
    (
        select basis from billing_private.token_cost('test', 10, 10, 4, billing_private.clock())
    ),
    '{
        "model": "test", "prompt_tokens": 10, "completion_tokens": 10, "cached_tokens": 4, "exact_cost": 0.0000000058,
        "rates": {
            "input_per_million": 0.0004, "cached_input_per_million": 0.0001, "output_per_million": 0.0003, "multiplier": 1
        }
    }'::jsonb,
    'the basis has counts, rates and the exact cost'
);
-- Every cost is at least the exact one, and less than one unit of the ninth place above it.
select is(
    (
        select count(*)
        from generate_series(0, 60) p, generate_series(0, 20) c
        cross join lateral billing_private.token_cost('test', p, c, p / 2, billing_private.clock()) t
        where t.cost - (t.basis ->> 'exact_cost')::numeric not between 0 and 0.000000000999999999
    ),
    0::bigint, 'always up, by less than one'
);

select * from finish();
rollback;
