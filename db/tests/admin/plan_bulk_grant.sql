-- What a file would do is told row by row, and nothing happens.
\ir ../bulk.psql

select billing.open_account(admin()) \g /dev/null
select billing.set_account_status(chief(), d(), 'closed', 'r') \g /dev/null
select billing.set_user_reference(a(), 'Ann@example.com') \g /dev/null
select billing.set_user_reference(u, 'two@example.com') from unnest(array[b(), c()]) u \g /dev/null
insert into legacy_billing.customers (user_id) values ('00000000-0000-0000-0000-0000000000e7');
create function told(p_rows jsonb, p_actor uuid default admin(), p_name text default 'March') returns text
language sql as $$
    select string_agg(concat_ws(' ', row_no, verdict, problem, warning, other_name), ', ' order by row_no)
    from billing.plan_bulk_grant(p_actor, p_name, p_rows)
$$;

select rows_are(
    $$
    select row_no, user_id, reference, amount, reason, expires_at, verdict, problem, running_total, left_today
    from billing.plan_bulk_grant(admin(), 'March', file(
        line(a(), '10.000000001', '{"row_no": 2, "reason": " sorry "}'), line(b(), '5'),
        line(c(), '1', '{"row_no": 4, "expires_at": "2025-04-01"}')
    ), '2025-05-01 00:00+00')
    $$,
    $$
    values
        (2, a(), 'Ann@example.com', 10.000000001, 'sorry', '2025-05-01 00:00+00'::timestamptz, 'grant', null, 10.000000001, 4989.999999999),
        (2, b(), 'two@example.com', 5, null, '2025-05-01 00:00+00', 'grant', null, 15.000000001, 4984.999999999),
        (4, c(), 'two@example.com', 1, null, '2025-04-01 00:00+00', 'grant', null, 16.000000001, 4983.999999999)
    $$,
    'with the sum of what would be granted, and what it leaves of the day'
);
select is(told(file(line(u, '1'))), w, w) from (values
    (nobody(), '1 refused account_not_found'), (d(), '1 refused account_closed'),
    ('00000000-0000-0000-0000-0000000000e7', '1 refused not_migrated'), (admin(), '1 refused approval_required')
) c (u, w);
select is(told(file(line(a(), amount))), '1 ' || verdict, amount || ': ' || verdict) from (values
    ('0', 'invalid amount_not_positive'), ('-1', 'invalid amount_not_positive'),
    ('0.0000000001', 'invalid amount_too_precise'), ('1000000000001', 'invalid amount_too_large'),
    ('1,5', 'invalid invalid_request'), ('NaN', 'invalid invalid_request'), ('1e2', 'invalid invalid_request'),
    ('', 'invalid invalid_request'), ('1000', 'grant'), ('1000.000000001', 'refused admin_limit_exceeded')
) c (amount, verdict);
select is(told(file(line(a(), '1', more))), '1 ' || verdict, more || ': ' || verdict) from (values
    ('{"expires_at": "2025-03-10T12:00:00Z"}', 'invalid expiry_not_ahead'),
    ('{"expires_at": "2025-03-10T14:00:00+02:00"}', 'invalid expiry_not_ahead'),
    ('{"expires_at": "2025-03-10T14:00:01+02:00"}', 'grant'), ('{"expires_at": "2025-03-10 12:01"}', 'grant'),
    ('{"expires_at": "infinity"}', 'invalid invalid_request'), ('{"expires_at": "tomorrow"}', 'invalid invalid_request'),
    ('{"expires_at": 5}', 'invalid invalid_request'), ('{"reason": 5}', 'invalid invalid_request'),
    ('{"expire_at": "2025-04-01"}', 'invalid invalid_request'), ('{"reference": "ann@example.com"}', 'invalid invalid_request'),
    (format('{"reason": "%s"}', repeat('x', 2001)), 'invalid invalid_request')
) c (more, verdict);
set local timezone = 'America/New_York';
set local datestyle = 'German';
select is(
    told(file(line(a(), '1', '{"expires_at": "2025-03-10 12:00"}'), line(b(), '1', '{"expires_at": "2025-03-10 12:01"}'))),
    '1 invalid expiry_not_ahead, 2 grant', 'a time without a zone is in UTC, whatever the session''s'
);
reset timezone;
reset datestyle;
select is(told(file(item)), '1 ' || verdict, item || ': ' || verdict) from (values
    ('{"reference": " ann@EXAMPLE.com ", "amount": 1}', 'grant'),
    ('{"reference": "bob@example.com", "amount": 1}', 'invalid unknown_reference'),
    ('{"reference": "two@example.com", "amount": 1}', 'invalid ambiguous_reference'),
    ('{"reference": " ", "amount": 1}', 'invalid invalid_request'), ('{"amount": 1}', 'invalid invalid_request'),
    ('{"user_id": "a", "amount": 1}', 'invalid invalid_request'), ('"x"', 'invalid invalid_request'), ('[]', 'invalid invalid_request'),
    ('null', 'invalid invalid_request')
) c (item, verdict);
select is(
    told(file(line(a()), line(b()), '{"reference": "ann@example.com", "amount": 1, "row_no": 3}')),
    '1 invalid duplicate_user, 2 grant, 3 invalid duplicate_user', 'somebody twice, by whatever name'
);
update billing.admin_limits set max_daily_total = 10, approval_above = 7 where role = 'admin';
select is(
    told(file(line(a(), '7'), line(b(), '7.01'), line(c(), '4'), line(e(), '3'))),
    '1 grant, 2 refused admin_limit_exceeded, 3 refused admin_limit_exceeded, 4 grant',
    'the day''s limit goes by the order of the file'
);
select is(told(file(line(a(), '7.01'))), '1 refused approval_required', 'approval_above holds for each row');
update billing.admin_limits set max_daily_total = 5000, approval_above = null where role = 'admin';

select is(
    (select count(*) from billing.bulk_grants) + (select count(*) from billing.bulk_grant_rows)
    + (select count(*) from billing.admin_actions_log where admin_user_id = admin()), 0::bigint, 'nothing was written'
);

-- What was granted before.
select billing.run_bulk_grant(admin(), bulk_id)
from billing.begin_bulk_grant(admin(), 'March', file(line(a(), '10'), line(b(), '20')), 'sorry') \g /dev/null
select is(
    told(file(line(a(), '10'), line(b(), '21'), line(c(), '1')), p_name => '  march '),
    '1 granted, 2 granted granted_otherwise, 3 grant', 'under the same name, however it is written'
);
select is(
    told(file(line(a(), '10', '{"expires_at": "2025-04-01"}'))), '1 granted granted_otherwise', 'another expiry is another grant'
);
select is(
    told(file(line(a(), '10'), line(b(), '21')), p_name => 'April'),
    '1 grant granted_under_another_name March, 2 grant', 'under another name, the same amount is warned of'
);
set local tap.now = '2025-04-09 12:00+00';
select is(told(file(line(a(), '10')), p_name => 'April'), '1 grant', 'for 30 days');

select throws_ok(format('select billing.plan_bulk_grant(%s)', arguments), code, name, name || ': ' || left(arguments, 60))
from (values
    ('a(), ''x'', ''[1]''', 'UC403', 'not_an_admin'), ('null, ''x'', ''[1]''', 'UC403', 'not_an_admin'),
    ('admin(), null, ''[1]''', 'UC400', 'invalid_request'), ('admin(), '' '', ''[1]''', 'UC400', 'invalid_request'),
    (format('admin(), %L, ''[1]''', repeat('x', 201)), 'UC400', 'invalid_request'),
    ('admin(), ''x'', null', 'UC400', 'invalid_request'), ('admin(), ''x'', ''[]''', 'UC400', 'invalid_request'),
    ('admin(), ''x'', ''{}''', 'UC400', 'invalid_request'),
    ('admin(), ''x'', (select jsonb_agg(1) from generate_series(1, 10001))', 'UC422', 'too_many_rows')
) c (arguments, code, name);
select is(
    (select count(*) from billing.plan_bulk_grant(admin(), 'x', (select jsonb_agg(1) from generate_series(1, 10000)))),
    10000::bigint, 'ten thousand rows are not too many'
);

select * from finish();
rollback;
