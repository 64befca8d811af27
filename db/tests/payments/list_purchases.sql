-- The purchases of a user, newest first, page by page.
\ir ../payments.psql

select billing.open_account(user_id, 'buyer') from (values (a()), (b())) u (user_id) \g /dev/null
select set_config('tap.now', ('2025-03-10 12:00+00'::timestamptz + no * interval '1 minute')::text, true),
    billing.record_purchase(case no when 3 then b() else a() end, 10 + no)
from generate_series(1, 5) no \g /dev/null
set local role billing_api;
select rows_are(
    'select user_id, amount, created_at, replayed, call_id is not null from billing.list_purchases(a())',
    $$
    values (a(), 15::numeric, '2025-03-10 12:05+00'::timestamptz, false, true),
        (a(), 14, '2025-03-10 12:04+00', false, true), (a(), 12, '2025-03-10 12:02+00', false, true),
        (a(), 11, '2025-03-10 12:01+00', false, true)
    $$,
    'those of the user, the newest first'
);
select is(
    (select array_agg(amount) from billing.list_purchases(a(), p_limit => 3)), array[15, 14, 12]::numeric[], 'a page'
);
select is(
    (
        select array_agg(amount)
        from billing.list_purchases(
            a(), (select purchase_id from billing.list_purchases(a()) where amount = 14), 2
        )
    ),
    array[12, 11]::numeric[], 'the next one begins after the last row of it'
);
select is_empty(
    'select from billing.list_purchases(a(), (select purchase_id from billing.list_purchases(a()) where amount = 11))',
    'and after the oldest there is none'
);
select is_empty('select from billing.list_purchases(nobody())', 'who bought nothing has none');
select rows_are(
    'select * from billing.list_purchases(b())',
    'select (billing.get_purchase(b(), purchase_id)).* from billing.list_purchases(b())',
    'each is told as get_purchase tells it'
);
select throws_ok(
    'select billing.list_purchases(a(), p_limit => ' || p_limit || ')', 'UC422', 'limit_out_of_range',
    'a page of ' || p_limit
)
from (values ('0'), ('501'), ('-1'), ('null')) c (p_limit);
select lives_ok('select billing.list_purchases(a(), p_limit => 500)', 'a page of 500');

select * from finish();
rollback;
