-- A month's calls are told by model, in whichever system each was recorded, and each once.
\ir ../legacy.psql

select old_user(a(), 'price_tier_2_20_monthly'), old_usage(a(), 1), old_usage(a(), 2),
    old_usage(a(), 4, p_model => 'o3'),
    old_usage(a(), 8, '2025-02-28 23:59:59.999999+00'), old_usage(a(), 16, '2025-03-01 00:00+00', 'dall-e'),
    old_usage(a(), 32, '2025-04-01 00:00+00'), old_usage(b(), 64) \g /dev/null
create function used(p_user_id uuid, p_month date default null) returns text language sql as $$
    select string_agg(
        concat_ws(' ', model, calls, prompt_tokens, completion_tokens, cached_tokens, trim_scale(cost)), ', ' order by n
    )
    from billing.legacy_usage(p_user_id, p_month) with ordinality u (
        model, calls, prompt_tokens, completion_tokens, cached_tokens, cost, n
    )
$$;
set local role billing_api;
select is(
    used(a()), 'dall-e 1 100 10 0 16, gpt-4o 2 200 20 0 3, o3 1 100 10 0 4', 'of this month, unless another is told'
);
select is(used(a(), '2025-02-03'), 'gpt-4o 1 100 10 0 8', 'of another, by any of its days');
select is(used(a(), '2025-04-30'), 'gpt-4o 1 100 10 0 32', 'or the next');
select is(used(a(), '2024-01-01'), null, 'nothing is nothing');
select is(used(nobody()), null, 'nor is a stranger anything');
select throws_ok(
    'select billing.legacy_usage(' || arguments || ')', 'UC400', 'invalid_request', 'not for ' || arguments
)
from unnest(array[
    'null', 'a(), ''1969-12-31''', 'a(), ''10000-01-01''', 'a(), ''infinity''', 'a(), ''-infinity'''
]) arguments;
reset role;

-- Here.

select moves(a()) \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
select entry_no as wrong from billing.deduct_credits(a(), 0.5) \gset
select billing.deduct_credits(a(), 0.25, p_metadata => '{"model": "o3", "prompt_tokens": -1, "cached_tokens": 7}'),
    billing.deduct_credits(a(), 1000) \g /dev/null
select cost from billing.deduct_tokens(a(), 'gpt-4o', 1000, 100, 50) \gset
select is(
    used(a()),
    format(
        'dall-e 1 100 10 0 16, gpt-4o 3 1200 120 50 %s, o3 2 100 10 7 4.25, other 1 0 0 0 0.5', trim_scale(3 + :cost)
    ),
    'of one who has left, what was used in both'
);
select is(used(a(), '2025-02-01'), 'gpt-4o 1 100 10 0 8', 'before it, in the old one');
set local tap.now = '2025-04-11 12:00+00';
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select billing.deduct_credits(a(), 0.125) \g /dev/null
select is(used(a()), 'gpt-4o 1 100 10 0 32, other 1 0 0 0 0.125', 'the next month is told alone');
select is(
    used(a(), '2025-03-31'),
    format(
        'dall-e 1 100 10 0 16, gpt-4o 3 1200 120 50 %s, o3 2 100 10 7 4.25, other 1 0 0 0 0.5', trim_scale(3 + :cost)
    ),
    'and the one before still so'
);

-- There again.

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.reverse_entry(chief(), a(), :wrong, 'r') \g /dev/null
select returns(a()) \g /dev/null
select is(
    used(a(), '2025-03-01'),
    format('dall-e 1 100 10 0 16, gpt-4o 3 1200 120 50 %s, o3 2 100 10 7 4.25', trim_scale(3 + :cost)),
    'of one who went back, each once, but for what was reversed'
);
select moves(a()) \g /dev/null
select billing.deduct_credits(a(), 0.0625) \g /dev/null
select is(
    used(a(), '2025-03-01'),
    format('dall-e 1 100 10 0 16, gpt-4o 3 1200 120 50 %s, o3 2 100 10 7 4.25', trim_scale(3 + :cost)),
    'and of one who has returned'
);
select ok(used(a()) ~ 'other 2 0 0 0 0.1875', 'with the calls of either round');

-- Born here.

select billing.open_account(c()) \g /dev/null
select billing.deduct_credits(c(), 1) \g /dev/null
select is(used(c()), 'other 1 0 0 0 1', 'a user whom the old system does not know has used here');

select * from finish();
rollback;
