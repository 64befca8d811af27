-- What the application calls some users, to show beside their ids.
\ir ../setup.psql

select billing.set_user_reference(u, r)
from (values (c(), 'cleo@example.com'), (a(), 'ann@example.com'), (b(), 'bob@example.com')) s (u, r) \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
select billing.set_user_reference(a(), 'Ann') \g /dev/null

set local role billing_api;
select rows_are(
    'select * from billing.list_user_references(array[c(), null, d(), a(), c()])',
    $$
    values (a(), 'Ann', '2025-03-11 12:00+00'::timestamptz), (c(), 'cleo@example.com', '2025-03-10 12:00+00')
    $$,
    'those that have one, by their ids, each once'
);
reset role;
select is_empty($$select * from billing.list_user_references('{}')$$, 'nobody''s');
select is(
    (select count(*) from billing.list_user_references(array_fill(b(), array[1000]))), 1::bigint, 'of 1000 users'
);
select throws_ok(format('select billing.list_user_references(%s)', ids), 'UC400', 'invalid_request', 'not of ' || ids)
from unnest(array['null', 'array_fill(b(), array[1001])']) ids;

select * from finish();
rollback;
