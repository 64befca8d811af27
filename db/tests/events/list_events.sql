-- The events of a user, newest first, page by page.
\ir ../setup.psql

select billing.open_account(u) from unnest(array[a(), b()]) u \g /dev/null
select billing.deduct_credits(a(), 5) \g /dev/null
select rows_are(
    $$
    select
        user_id, event_no, kind, status, attempts, next_attempt_at, error, created_at, delivered_at, payload
    from billing.list_events(a())
    $$,
    $$
    select a(), no, kind, 'kept', 0, null::timestamptz, null::text, '2025-03-10 12:00+00'::timestamptz, null::timestamptz,
        (select payload from billing.billing_events where user_id = a() and event_no = no)
    from (values (3, 'balance.depleted'), (2, 'balance.low'), (1, 'credits.granted')) v (no, kind)
    $$,
    'newest first, with all that is known of them, and of nobody else'
);
select results_eq(
    'select event_no from billing.list_events(a(), p_limit => 2)', 'values (3::bigint), (2)', 'a page'
);
select results_eq('select event_no from billing.list_events(a(), 2, 2)', 'values (1::bigint)', 'and the one after it');
select is_empty('select * from billing.list_events(a(), 1)', 'there is none before the first');
select is_empty('select * from billing.list_events(nobody())', 'somebody of whom nothing is known has none');
select throws_ok(
    format('select billing.list_events(a(), p_limit => %s)', page), 'UC422', 'limit_out_of_range', 'a page of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
