-- A batch deducts its items one by one, each on its own terms, and answers in their order.
\ir ../setup.psql

select billing.open_account(a()) \g /dev/null
select billing.open_account(b()) \g /dev/null
create function item(p_members jsonb, p_user uuid default a()) returns jsonb language sql immutable
as $$select jsonb_build_object('user_id', p_user) || p_members$$;

select rows_are(
    $$
    select * from billing.deduct_credits_batch(jsonb_build_array(
        item('{"amount": 1, "idempotency_key": "k1", "description": "d", "reference_type": "t", "reference_id": "i",
            "metadata": {"x": 1}}', b()),
        item('{"amount": "0.123456789"}'),
        item('{"model": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 100, "cached_tokens": 200}'),
        item('{"amount": 100}'),
        item('{"amount": 1, "idempotency_key": "k1", "reference_type": "t", "reference_id": "i"}', b()),
        item('{"amount": 2, "idempotency_key": "k1", "reference_type": "t", "reference_id": "i"}', b()),
        item('{"model": "gpt-99", "prompt_tokens": 1, "completion_tokens": 1}'),
        item('{"amount": 1}', nobody()),
        item('{"model": "gpt-4o", "prompt_tokens": 0, "completion_tokens": 0}', b()),
        item('{"amount": 4}', b())
    ))
    $$,
    $$
    values
        (true, 2::bigint, 1::numeric, 4::numeric, 4::numeric, null::text, false),
        (true, 2, 0.123456789, 4.876543211, 4.876543211, null, false),
        (true, 3, 0.004875, 4.871668211, 4.871668211, null, false),
        (false, 4, 0, 4.871668211, 4.871668211, 'insufficient_credits', false),
        (true, 2, 1, 4, 4, null, true),
        (false, null, 0, null, null, 'idempotency_key_reused', false),
        (false, null, 0, null, null, 'unknown_model', false),
        (false, null, 0, null, null, 'account_not_found', false),
        (true, null, 0, 4, 4, null, false),
        (true, 3, 4, 0, 0, null, false)
    $$,
    'an item that would raise alone fails by that name, and the others go on'
);
select rows_are(
    $$
    select operation, idempotency_key, reference_type, reference_id, description, metadata
    from billing.credit_ledger where user_id = b() and entry_no = 2
    $$,
    $$values ('deduct_credits', 'k1', 't', 'i', 'd', '{"x": 1}'::jsonb)$$,
    'an entry of a batch is like any other'
);
select is(
    (billing.deduct_credits(b(), 1, null, 't', 'i', 'k1')).replayed, true, 'its keys are those of deduct_credits'
);
select is(
    (select metadata -> 'asked' from billing.credit_ledger where user_id = a() and entry_no = 4), '100',
    'R04: a refused item leaves its trace'
);
select billing.deduct_credits_batch(jsonb_build_array(
    item('{"model": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 0, "idempotency_key": "t1"}')
)) \g /dev/null
select is(
    (billing.deduct_tokens(a(), 'gpt-4o', 1000, 0, p_idempotency_key => 't1')).replayed, true, 'and of deduct_tokens'
);

select rows_are(
    format('select success, reason from billing.deduct_credits_batch(%L)', jsonb_build_array(item)),
    format('values (false, %L)', reason), reason || ': ' || item
)
from (values
    ('1'::jsonb, 'invalid_request'),
    ('null', 'invalid_request'),
    ('[]', 'invalid_request'),
    ('{}', 'invalid_request'),
    ('{"amount": 1}', 'invalid_request'),
    ('{"user_id": null, "amount": 1}', 'invalid_request'),
    ('{"user_id": "me", "amount": 1}', 'invalid_request'),
    (item('{}'), 'invalid_request'),
    (item('{"amount": null}'), 'invalid_request'),
    (item('{"amount": 1, "model": "o3", "prompt_tokens": 1, "completion_tokens": 1}'), 'invalid_request'),
    (item('{"amount": 1, "cached_tokens": 1}'), 'invalid_request'),
    (item('{"amount": 1, "ammount": 1}'), 'invalid_request'),
    (item('{"amount": 1, "metadata": [1]}'), 'invalid_request'),
    (item('{"amount": 1, "idempotency_key": ""}'), 'invalid_request'),
    (item('{"amount": 1, "description": {"a": 1}}'), 'invalid_request'),
    (item('{"amount": 1, "reference_id": 7}'), 'invalid_request'),
    (item('{"amount": 1, "idempotency_key": 5}'), 'invalid_request'),
    (item('{"amount": "one"}'), 'invalid_request'),
    (item('{"amount": true}'), 'invalid_request'),
    (item('{"amount": {}}'), 'invalid_request'),
    (item('{"amount": 0}'), 'amount_not_positive'),
    (item('{"amount": -1}'), 'amount_not_positive'),
    (item('{"amount": 0.0000000001}'), 'amount_too_precise'),
    (item('{"amount": "0.0000000001"}'), 'amount_too_precise'),
    (item('{"amount": 1e13}'), 'amount_too_large'),
    (item('{"amount": 1e100000}'), 'amount_too_large'),
    (item('{"amount": 1e-1000}'), 'amount_too_precise'),
    (item('{"model": "o3"}'), 'invalid_tokens'),
    (item('{"model": "o3", "prompt_tokens": 1}'), 'invalid_tokens'),
    (item('{"model": "o3", "prompt_tokens": 1.5, "completion_tokens": 1}'), 'invalid_tokens'),
    (item('{"model": "o3", "prompt_tokens": -1, "completion_tokens": 1}'), 'invalid_tokens'),
    (item('{"model": "o3", "prompt_tokens": 99999999999999999999, "completion_tokens": 1}'), 'invalid_tokens'),
    (item('{"model": "o3", "prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 2}'), 'invalid_tokens')
) c (item, reason);

select is_empty($$select * from billing.deduct_credits_batch('[]')$$, 'no item, no row');
select is(
    (
        select count(*) filter (where success) from billing.deduct_credits_batch(
            (select jsonb_agg(item('{"amount": 0.000000001}')) from generate_series(1, 1000))
        )
    ),
    1000::bigint, 'a thousand items are a batch'
);
select throws_ok('select billing.deduct_credits_batch(' || items || ')', 'UC400', 'invalid_request', 'no batch: ' || left(items, 60))
from unnest(array[
    'null', '''null''', '''{}''', '''1''', '''"a"''', '(select jsonb_agg(n) from generate_series(1, 1001) n)'
]) items;
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
