-- How far a bulk grant is.
\ir ../bulk.psql

select billing.begin_bulk_grant(admin(), 'March', file(line(a(), '1'), line(nobody(), '2'), line(b(), '3.5'), line(c(), '4')), 'sorry') \g /dev/null
create function told() returns text language sql as $$
    select concat_ws(
        ' ', name, reason, created_by = admin(), row_count, pending, granted, refused, withdrawn, total, pending_total,
        granted_total, coalesce(last_at::text, '-')
    )
    from billing.get_bulk_grant(bulk())
$$;
select is(told(), 'March sorry t 4 4 0 0 0 10.5 10.5 0 -', 'nothing is done yet');
select billing.run_bulk_grant(admin(), bulk(), 3) \g /dev/null
select is(told(), 'March sorry t 4 1 2 1 0 10.5 4 4.5 ' || '2025-03-10 12:00+00'::timestamptz, 'half of it is');
select billing.stop_bulk_grant(admin(), bulk(), 'r') \g /dev/null
select is(told(), 'March sorry t 4 0 2 2 1 10.5 0 4.5 ' || '2025-03-10 12:00+00'::timestamptz, 'the rest is withdrawn');
select throws_ok('select billing.get_bulk_grant(nobody())', 'UC404', 'bulk_grant_not_found', 'there is no other');
select throws_ok('select billing.get_bulk_grant(null)', 'UC404', 'bulk_grant_not_found', 'nor one without an id');

select * from finish();
rollback;
