-- The rows of a bulk grant, in the order of the file, page by page.
\ir ../bulk.psql

select billing.set_user_reference(c(), 'c@example.com') \g /dev/null
select billing.begin_bulk_grant(
    admin(), 'March', file(line(c(), '1'), line(nobody(), '2'), line(b(), '3', '{"expires_at": "2025-04-01", "reason": "more"}')), 'r'
) \g /dev/null
-- A second file has lines of the same numbers.
select billing.begin_bulk_grant(admin(), 'March', file(line(d(), '4'), line(e(), '5')), 'r') \g /dev/null
select billing.run_bulk_grant(admin(), bulk(), 4) \g /dev/null
create function told(p_outcome text default null, p_after uuid default null, p_limit int default 50) returns text
language sql as $$
    select string_agg(concat_ws(' ', row_no, right(user_id::text, 1), outcome), ', ')
    from billing.list_bulk_rows(bulk(), p_outcome, p_after, p_limit)
$$;
select is(told(), '1 c granted, 1 d granted, 2 e granted, 2 f refused, 3 b pending', 'all');
select is(told(p_limit => 2), '1 c granted, 1 d granted', 'the first page');
select is(told(p_after => d(), p_limit => 2), '2 e granted, 2 f refused', 'the next');
select is(told(p_after => b()), null, 'the end');
select is(told('refused'), '2 f refused', 'what was refused');
select is(told('pending'), '3 b pending', 'what waits');
select is(told('granted', d()), '2 e granted', 'what was granted, on the next page');
select rows_are(
    $$
    select row_no, user_id, reference, amount, reason, expires_at, outcome, refusal, entry_no, action_id is null, decided_by
    from billing.list_bulk_rows(bulk()) where row_no > 1 or user_id = c()
    $$,
    $$
    values (1, c(), 'c@example.com', 1, 'r', null::timestamptz, 'granted', null, 2::bigint, false, admin()),
        (2, e(), null, 5, 'r', null, 'granted', null, 2, false, admin()),
        (2, nobody(), null, 2, 'r', null, 'refused', 'account_not_found', null, true, admin()),
        (3, b(), null, 3, 'more', '2025-04-01 00:00+00', 'pending', null, null, true, null)
    $$,
    'with all that is known of them'
);
select throws_ok(format('select billing.list_bulk_rows(%s)', arguments), code, name, name || ': ' || arguments)
from (values
    ('bulk(), ''lost''', 'UC400', 'invalid_request'), ('nobody()', 'UC404', 'bulk_grant_not_found'),
    ('null', 'UC404', 'bulk_grant_not_found'), ('bulk(), p_limit => 0', 'UC422', 'limit_out_of_range')
) c (arguments, code, name);

select * from finish();
rollback;
