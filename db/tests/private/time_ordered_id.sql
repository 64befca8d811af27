-- Ids are version 7 uuids: they sort by time, and no two are the same.
\ir ../setup.psql

select matches(
    billing_private.time_ordered_id('2025-03-10 12:00:00.123+00')::text,
    '^01957fed-1a7b-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$', 'the milliseconds, version and variant'
);
select is(
    (
        select count(distinct billing_private.time_ordered_id('2025-03-10 12:00+00')) from generate_series(1, 1000)
    ),
    1000::bigint, 'of one moment there are many'
);
select is(
    (
        select bool_and(later > earlier)
        from generate_series(1, 1000) n
        cross join lateral (select billing_private.time_ordered_id('2025-03-10 12:00+00'::timestamptz + n * interval '1 ms')) a (earlier)
        cross join lateral (select billing_private.time_ordered_id('2025-03-10 12:00+00'::timestamptz + (n + 1) * interval '1 ms')) b (later)
    ),
    true, 'a later one is greater'
);

select * from finish();
rollback;
