-- A model call costs its exact price by the rate card, rounded once, up, at the ninth place; the entry says how.
\ir ../setup.psql

select billing.bootstrap_super_admin(admin()) \g /dev/null
select billing.open_account(a()) \g /dev/null

select is(
    billing.deduct_tokens(a(), 'gpt-4o', 1000, 100, 200, 'call', 'c1', 'key', '{"trace": "t", "model": "mine"}'),
    (true, 2, 0.004875, 4.995125, 4.995125, null, false, 0.004875)::billing.token_deduction,
    '(800 × 2.50 + 200 × 1.25 + 100 × 10.00) ÷ 1,000,000 × 1.5'
);
select rows_are(
    $$
    select type, amount, operation, idempotency_key, reference_type, reference_id, description, metadata
    from billing.credit_ledger where user_id = a() and entry_no = 2
    $$,
    $$
    values (
        'usage', -0.004875, 'deduct_tokens', 'key', 'call', 'c1', null, '{
            "trace": "t", "model": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 100, "cached_tokens": 200,
            "exact_cost": 0.004875, "rates": {
                "input_per_million": 2.50, "cached_input_per_million": 1.25, "output_per_million": 10.00, "multiplier": 1.5
            }
        }'::jsonb
    )
    $$,
    'counts, rates and the exact cost are in the metadata, beside the caller''s, and are not the caller''s to set'
);
select is(
    billing.deduct_tokens(a(), 'gpt-4o', 1000, 100),
    (true, 3, 0.00525, 4.989875, 4.989875, null, false, 0.00525)::billing.token_deduction,
    'no token is cached unless it is said'
);

-- Rounding.

insert into billing.model_prices
values ('tiny', '2025-01-01', 0.0001, 0.0001, 0.0001, 1), ('gratis', '2025-01-01', 0, 0, 0, 1.5);
select is(
    billing.deduct_tokens(a(), 'tiny', 1, 0),
    (true, 4, 0.000000001, 4.989874999, 4.989874999, null, false, 0.000000001)::billing.token_deduction,
    'R01: a tenth of the smallest amount costs the smallest amount'
);
select is(
    (select metadata -> 'exact_cost' from billing.credit_ledger where user_id = a() and entry_no = 4), '0.0000000001',
    'and its exact cost is kept'
);
select is(
    (billing.deduct_tokens(a(), 'tiny', 6, 4, 3)).cost, 0.000000001, 'it is the sum that is rounded, not its parts'
);
select is((billing.deduct_tokens(a(), 'tiny', 11, 0)).cost, 0.000000002, 'up');
select is((billing.deduct_tokens(a(), 'tiny', 20, 0)).cost, 0.000000002, 'unless it is exact');

-- A call that costs nothing.

select is(
    billing.deduct_tokens(a(), 'gpt-4o', 0, 0, 0, null, null, 'nothing'),
    (true, null, 0, 4.989874994, 4.989874994, null, false, 0)::billing.token_deduction, 'no tokens cost nothing'
);
select is(
    (billing.deduct_tokens(a(), 'gratis', 1000, 1000)).entry_no, null, 'nor do those of a model without a price'
);
select is(
    (select count(*) from billing.credit_ledger where user_id = a() and type = 'usage' and amount = 0), 0::bigint,
    'and no entry of 0 is left, which would tell a refusal'
);
select is(
    (billing.deduct_tokens(a(), 'gpt-4o', 0, 1, 0, null, null, 'nothing')).replayed, false, 'nor is its key bound'
);

-- Keys.

select billing.deduct_credits(a(), 0.989874994 - 0.000015) \g /dev/null
select is(
    billing.deduct_tokens(a(), 'gpt-4o', 1000, 100, 200, 'call', 'c1', 'key', '{"trace": "u"}'),
    (true, 2, 0.004875, 4.995125, 4, null, true, 0.004875)::billing.token_deduction,
    'the same call is replayed, whatever its metadata'
);
update billing.model_prices set multiplier = 3 where model = 'gpt-4o';
select is(
    billing.deduct_tokens(a(), 'gpt-4o', 1000, 100, 200, 'call', 'c1', 'key'),
    (true, 2, 0.004875, 4.995125, 4, null, true, 0.004875)::billing.token_deduction,
    'at the cost of then, whatever the card says today'
);
select throws_ok('select billing.deduct_tokens(a(), ' || arguments || ')', 'UC409', 'idempotency_key_reused', difference)
from (values
    ('''gpt-4.1'', 1000, 100, 200, ''call'', ''c1'', ''key''', 'another model is another request'),
    ('''gpt-4o'', 1001, 100, 200, ''call'', ''c1'', ''key''', 'other prompt tokens too'),
    ('''gpt-4o'', 1000, 101, 200, ''call'', ''c1'', ''key''', 'other completion tokens too'),
    ('''gpt-4o'', 1000, 100, 201, ''call'', ''c1'', ''key''', 'other cached tokens too'),
    ('''gpt-4o'', 1000, 100, 200, ''call'', ''c2'', ''key''', 'another reference_id too'),
    ('''gpt-4o'', 1000, 100, 200, null, ''c1'', ''key''', 'another reference_type too')
) c (arguments, difference);

-- The rate card.

insert into billing.model_prices values ('gpt-4.1', '2025-03-10 13:00+00', 4, 1, 16, 1.5);
select is((billing.deduct_tokens(a(), 'gpt-4.1', 1000, 0)).cost, 0.003, 'a price that lies ahead does not count yet');
set local tap.now = '2025-03-10 13:00+00';
select is((billing.deduct_tokens(a(), 'gpt-4.1', 1000, 0)).cost, 0.006, 'from its time on it does');
insert into billing.model_prices values ('later', '2025-03-10 13:00:00.000001+00', 1, 1, 1, 1);

-- Refusals.

select billing.open_account(b()) \g /dev/null
select is(
    billing.deduct_tokens(b(), 'claude-opus-4-1', 1000000, 0, 0, 'call', 'c9', 'key'),
    (false, 2, 0, 5, 5, 'insufficient_credits', false, 22.5)::billing.token_deduction,
    'a refused call says what it would cost'
);
select is(
    (
        select metadata - 'rates' from billing.credit_ledger
        where user_id = b() and entry_no = 2 and idempotency_key is null
    ),
    '{
        "model": "claude-opus-4-1", "prompt_tokens": 1000000, "completion_tokens": 0, "cached_tokens": 0,
        "exact_cost": 22.5, "refused": "insufficient_credits", "asked": 22.5, "available": 5.00, "idempotency_key": "key"
    }',
    'R04: and leaves its trace'
);
select billing.set_account_status(admin(), b(), 'frozen', 'r') \g /dev/null
select is(
    billing.deduct_tokens(b(), 'gpt-4.1', 1, 0),
    (false, 3, 0, 5, 5, 'account_frozen', false, 0.000006)::billing.token_deduction, 'a frozen account runs no call'
);
select billing.set_account_status(admin(), b(), 'closed', 'r') \g /dev/null
select is((billing.deduct_tokens(b(), 'gpt-4.1', 1, 0)).reason, 'account_closed', 'nor a closed one');

-- Requests that are none.

select throws_ok('select billing.deduct_tokens(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, ''o3'', 1, 1', 'UC400', 'invalid_request'),
    ('a(), null, 1, 1', 'UC400', 'invalid_request'),
    ('a(), ''o3'', 1, 1, p_idempotency_key => ''''', 'UC400', 'invalid_request'),
    ('a(), ''o3'', 1, 1, p_metadata => ''1''', 'UC400', 'invalid_request'),
    ('nobody(), ''o3'', 1, 1', 'UC404', 'account_not_found'),
    ('a(), ''gpt-99'', 1, 1', 'UC404', 'unknown_model'),
    ('a(), '''', 1, 1', 'UC404', 'unknown_model'),
    ('a(), ''later'', 1, 1', 'UC404', 'unknown_model'),
    ('a(), ''o3'', null, 1', 'UC422', 'invalid_tokens'),
    ('a(), ''o3'', 1, null', 'UC422', 'invalid_tokens'),
    ('a(), ''o3'', 1, 1, null', 'UC422', 'invalid_tokens'),
    ('a(), ''o3'', -1, 1', 'UC422', 'invalid_tokens'),
    ('a(), ''o3'', 1, -1', 'UC422', 'invalid_tokens'),
    ('a(), ''o3'', 1, 1, -1', 'UC422', 'invalid_tokens'),
    ('a(), ''o3'', 1, 1, 2', 'UC422', 'invalid_tokens'),
    ('a(), ''o3'', 1000000000001, 1', 'UC422', 'invalid_tokens')
) c (arguments, code, name);
insert into billing.model_prices values ('dear', '2025-01-01', 1000000, 0, 0, 1000);
select throws_ok(
    $$select billing.deduct_tokens(a(), 'dear', 1000000001, 0)$$, 'UC422', 'amount_too_large',
    'a cost beyond the largest amount is an error, not a refusal'
);
select is(
    (billing.deduct_tokens(a(), 'dear', 1000000000, 0)).cost, 1000000000000::numeric, 'the largest amount is a cost'
);
select billing.open_account(c()) \g /dev/null
select billing.grant_credits(c(), 1000000000000, 'promotion') \g /dev/null
select billing.grant_credits(c(), 1000000000000, 'promotion') \g /dev/null
select throws_ok(
    $$select billing.deduct_tokens(c(), 'dear', 1000000001, 0)$$, 'UC422', 'amount_too_large',
    'also where the credits would suffice'
);
select is(
    (
        select string_agg(coalesce(reason, 'done'), ' ') from billing.deduct_credits_batch(jsonb_build_array(
            jsonb_build_object('user_id', c(), 'amount', 1),
            jsonb_build_object('user_id', c(), 'model', 'dear', 'prompt_tokens', 1000000001, 'completion_tokens', 0)
        ))
    ),
    'done amount_too_large', 'and in a batch it stops nobody else'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
