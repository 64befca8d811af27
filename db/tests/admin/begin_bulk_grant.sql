-- Rows are stored under a name, and wait; another file under the name goes on where the first one stands.
\ir ../bulk.psql

select rows_are(
    $$
    select success, reason, name, added, changed, unchanged, withdrawn, pending
    from billing.begin_bulk_grant(
        admin(), '  March   promotion ', file(line(a(), '10.50'), line(b(), '20', '{"reason": "more", "row_no": 7}')),
        'sorry', '2025-05-01 00:00+00'
    )
    $$,
    $$values (true, null, 'March promotion', 2, 0, 0, 0, 2)$$, 'two rows are added'
);
select rows_are(
    $$
    select row_no, user_id, amount, reason, expires_at, outcome from billing.bulk_grant_rows
    where bulk_id = bulk('March promotion')
    $$,
    $$
    values (1, a(), 10.50, 'sorry', '2025-05-01 00:00+00'::timestamptz, 'pending'),
        (7, b(), 20, 'more', '2025-05-01 00:00+00', 'pending')
    $$,
    'with the reason and the expiry of the whole where they have none'
);
select is((select string_agg(balance::text, ' ') from billing.credit_accounts where user_id in (a(), b())), '5.00 5.00', 'nothing is granted');
select rows_are(
    $$
    select target_user_id, admin_user_id, action, amount, reason, outcome, details - 'bulk_id', (details ->> 'bulk_id')::uuid
    from billing.admin_actions_log where action = 'begin_bulk_grant'
    $$,
    $$
    values (
        '00000000-0000-0000-0000-000000000000'::uuid, admin(), 'begin_bulk_grant', null::numeric, 'sorry', 'done',
        '{"name": "March promotion", "rows": 2, "added": 2, "changed": 0, "unchanged": 0, "withdrawn": 0}'::jsonb,
        bulk('March promotion')
    )
    $$,
    'it is logged'
);

create function again(p_rows jsonb, p_withdraw boolean default false, p_actor uuid default admin()) returns text
language sql as $$
    select concat_ws(
        ' ', added, changed, unchanged, case granted_otherwise when 0 then null else '(' || granted_otherwise || ')' end,
        withdrawn, pending
    )
    from billing.begin_bulk_grant(p_actor, 'March', p_rows, 'r', null, p_withdraw)
$$;
select is(again(file(line(a(), '1'), line(b(), '2'), line(c(), '3'))), '3 0 0 0 3', 'three rows');
select is(again(file(line(a(), '1'), line(b(), '2'), line(c(), '3'))), '0 0 3 0 3', 'the same file again changes nothing');
select is(
    again(file(line(a(), '1'), line(b(), '2.5'), line(d(), '4', '{"row_no": 9}')), p_actor => chief()), '1 1 1 0 4',
    'a corrected file, of another admin too: one row is added, one changed, and what it leaves out waits on'
);
select is(stored(), 'a 1 pending, b 2.5 pending, c 3 pending, d 4 pending', 'all of them');
select billing.set_account_status(chief(), d(), 'closed', 'r') \g /dev/null
select billing.run_bulk_grant(admin(), bulk(), 2) \g /dev/null
select is(stored(), 'a 1 granted, b 2.5 granted, c 3 pending, d 4 pending', 'half of it is granted');
select is(
    again(file(line(a(), '100'), line(b(), '2.5', '{"reason": "other"}'), line(d(), '4', '{"row_no": 9}')), true), '0 0 3 (1) 1 1',
    'what is granted never changes, which another amount is told; what the file leaves out is withdrawn when that is asked for'
);
select is(stored(), 'a 1 granted, b 2.5 granted, c 3 refused withdrawn, d 4 pending', 'as it stands then');
select is((select count(*) from billing.bulk_grants where lower(name) = 'march'), 1::bigint, 'under one name');
select billing.run_bulk_grant(admin(), bulk()) \g /dev/null
select is(stored(), 'a 1 granted, b 2.5 granted, c 3 refused withdrawn, d 4 refused account_closed', 'd cannot be granted');
select is(
    again(file(line(a(), '1'), line(b(), '2.5'), line(c(), '3', '{"row_no": 3}'), line(d(), '4', '{"row_no": 9}'))), '0 2 2 0 2',
    'a file that has them lets the refused wait again'
);
select is(stored(), 'a 1 granted, b 2.5 granted, c 3 pending, d 4 pending', 'both kinds');

select rows_are(
    $$select success, reason, bulk_id from billing.begin_bulk_grant(a(), 'Mine', file(line(a(), '1')), 'r')$$,
    $$values (false, 'not_an_admin', null::uuid)$$, 'a user is no admin'
);
select is_empty($$select from billing.bulk_grants where name = 'Mine'$$, 'and stores nothing');
select is(
    (select outcome from billing.admin_actions_log where admin_user_id = a()), 'not_an_admin', 'but the attempt is logged'
);
select throws_ok(format('select billing.begin_bulk_grant(%s)', arguments), code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, ''x'', ''[1]'', ''r''', 'UC400', 'invalid_request'), ('admin(), '' '', ''[1]'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), ''x'', ''[]'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), ''x'', ''[1]'', '' ''', 'UC422', 'reason_required'),
    ('admin(), ''x'', (select jsonb_agg(1) from generate_series(1, 10001)), ''r''', 'UC422', 'too_many_rows'),
    ('admin(), ''x'', file(line(a()), line(a())), ''r''', 'UC422', 'invalid_rows'),
    ('admin(), ''x'', file(line(a()), line(b(), ''0'')), ''r''', 'UC422', 'invalid_rows'),
    ('admin(), ''x'', file(line(a())), ''r'', ''2025-03-10 12:00+00''', 'UC422', 'invalid_rows'),
    ('admin(), ''x'', file(line(a())), ''r'', ''infinity''', 'UC422', 'invalid_rows')
) c (arguments, code, name);
select is_empty($$select from billing.bulk_grants where name = 'x'$$, 'not even the name stays of what is refused');

select * from finish();
rollback;
