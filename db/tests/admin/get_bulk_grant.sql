-- How far a bulk grant is.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(u) from unnest(array[a(), b(), c(), d(), e()]) u \g /dev/null
create function file(variadic p_rows text[]) returns jsonb language sql as
$$select jsonb_agg(r::jsonb order by n) from unnest(p_rows) with ordinality u (r, n)$$;
create function line(p_user uuid, p_amount text default '1', p_more text default '{}') returns text language sql as
$$select (jsonb_build_object('user_id', p_user, 'amount', p_amount) || p_more::jsonb)::text$$;
create function bulk(p_name text default 'March') returns uuid language sql as
$$select bulk_id from billing.bulk_grants where name = p_name$$;
create function stored(p_name text default 'March') returns text language sql as $$
    select string_agg(
        concat_ws(' ', right(user_id::text, 1), amount, outcome, refusal), ', ' order by row_no, user_id
    )
    from billing.bulk_grant_rows where bulk_id = bulk(p_name)
$$;

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
