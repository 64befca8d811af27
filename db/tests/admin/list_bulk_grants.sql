-- Bulk grants, the newest first, page by page, or by name.
\ir ../bulk.psql

select is_empty('select * from billing.list_bulk_grants()', 'at first there is none');
create function told(p_before uuid default null, p_limit int default 50, p_name text default null) returns text
language sql as $$
    select string_agg(concat_ws(' ', name, row_count, pending, granted), ', ')
    from billing.list_bulk_grants(p_before, p_limit, p_name)
$$;
set local tap.now = '2025-03-10 12:01+00';
select billing.begin_bulk_grant(admin(), 'March', file(line(a(), '1'), line(b(), '2')), 'r') \g /dev/null
set local tap.now = '2025-03-10 12:02+00';
select billing.begin_bulk_grant(admin(), 'April', file(line(a(), '1')), 'r') \g /dev/null
set local tap.now = '2025-03-10 12:03+00';
select billing.begin_bulk_grant(admin(), 'May', file(line(a(), '1')), 'r') \g /dev/null
select billing.run_bulk_grant(admin(), bulk('March'), 1) \g /dev/null
select is(told(), 'May 1 1 0, April 1 1 0, March 2 1 1', 'all');
select is(told(p_limit => 2), 'May 1 1 0, April 1 1 0', 'the first page');
select is(told(bulk('April')), 'March 2 1 1', 'the next');
select is(told(p_name => ' mARCH '), 'March 2 1 1', 'by name, however it is written');
select is(told(p_name => 'Marc'), null, 'but by the whole of it');
select throws_ok(format('select billing.list_bulk_grants(p_limit => %s)', n), 'UC422', 'limit_out_of_range', n || ' is no page')
from unnest(array[0, 501]) n;

select * from finish();
rollback;
