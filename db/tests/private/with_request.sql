-- The request that wrote an entry is in its metadata, and under its hash.
\ir ../setup.psql

create function metadata(p_user_id uuid) returns jsonb language sql as $$
    select metadata::jsonb from billing.credit_ledger where user_id = p_user_id order by entry_no desc limit 1
$$;
select billing.open_account(a()) \g /dev/null
select is(metadata(a()), null, 'without a request there is none');
set local billing.request_id = 'req-1';
select billing.deduct_credits(a(), 1, p_idempotency_key => 'k') \g /dev/null
select is(metadata(a()), '{"request_id": "req-1"}', 'a deduction');
select billing.deduct_credits(a(), 1, p_metadata => '{"a": 1}') \g /dev/null
select is(metadata(a()), '{"a": 1, "request_id": "req-1"}', 'beside what the caller says');
select billing.deduct_credits(a(), 1, p_metadata => '{"request_id": "mine"}') \g /dev/null
select is(metadata(a()), '{"request_id": "mine"}', 'which counts more');
select billing.deduct_credits(a(), 1000) \g /dev/null
select is(metadata(a()) ->> 'request_id', 'req-1', 'a refusal');
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select is(metadata(a()) ->> 'request_id', 'req-1', 'a grant');
select billing.deduct_tokens(a(), 'gpt-4o', 1000, 0) \g /dev/null
select is(metadata(a()) ->> 'request_id', 'req-1', 'a call, beside its price');
select billing.open_account(b()) \g /dev/null
select is(metadata(b()), '{"request_id": "req-1"}', 'an account that was opened');
set local billing.request_id = 'req-2';
select is(
    (billing.deduct_credits(a(), 1, p_idempotency_key => 'k')).replayed, true,
    'another request with the same key is a replay'
);
set local billing.request_id = '';
select billing.deduct_credits(a(), 0.5) \g /dev/null
select is(metadata(a()), null, 'an empty one is none');
select set_config('billing.request_id', repeat('r', 1000), true) \g /dev/null
select billing.deduct_credits(a(), 0.5) \g /dev/null
select is(metadata(a()) ->> 'request_id', repeat('r', 128), 'an endless one is cut');
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
