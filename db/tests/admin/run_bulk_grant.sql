-- One batch of a bulk grant: each row as admin_grant_credits would, once, whoever runs it how often.
\ir ../bulk.psql

create function run(p_limit int default 100, p_actor uuid default admin()) returns text language sql as $$
    select concat_ws(' ', success, reason, granted, refused, amount, pending, coalesce(left_today::text, '-'))
    from billing.run_bulk_grant(p_actor, bulk(), p_limit)
$$;
select billing.begin_bulk_grant(
    admin(), 'March',
    file(
        line(c(), '10', '{"expires_at": "2025-04-01"}'), line(nobody(), '1'), line(b(), '20', '{"reason": "more"}'),
        line(a(), '0.000000001')
    ), 'sorry'
) \g /dev/null
select is(run(1), 't 1 0 10 3 4990', 'a batch takes the first rows of the file');
select is(run(2), 't 1 1 20 1 4970', 'the next one the next; one of them has no account');
select is(run(), 't 1 0 0.000000001 0 4969.999999999', 'the last one');
select is(run(), 't 0 0 0 0 4969.999999999', 'then there is nothing left to do');
select is(
    stored(), 'c 10 granted, f 1 refused account_not_found, b 20 granted, a 0.000000001 granted', 'what became of each'
);
select rows_are(
    $$
    select l.type, l.amount, l.actor, l.description, l.operation, l.idempotency_key, g.source, g.priority, g.expires_at
    from billing.credit_ledger l join billing.credit_grants g using (user_id, entry_no)
    where user_id = c() and entry_no = 2
    $$,
    $$
    values (
        'adjustment', 10, admin(), 'sorry', 'admin_grant_credits', 'bulk:' || bulk(), 'adjustment', 50,
        '2025-04-01 00:00+00'::timestamptz
    )
    $$,
    'a grant like any other of an admin'
);
select rows_are(
    $$
    select l.target_user_id, l.admin_user_id, l.action, l.amount, l.reason, l.outcome, l.details ->> 'idempotency_key',
        r.entry_no, r.decided_by, r.decided_at
    from billing.admin_actions_log l join billing.bulk_grant_rows r using (action_id)
    order by r.row_no
    $$,
    $$
    values (c(), admin(), 'admin_grant_credits', 10, 'sorry', 'done', 'bulk:' || bulk(), 2, admin(), '2025-03-10 12:00+00'::timestamptz),
        (b(), admin(), 'admin_grant_credits', 20, 'more', 'done', 'bulk:' || bulk(), 2, admin(), '2025-03-10 12:00+00'),
        (a(), admin(), 'admin_grant_credits', 0.000000001, 'sorry', 'done', 'bulk:' || bulk(), 2, admin(), '2025-03-10 12:00+00')
    $$,
    'each is in the log, with the bulk grant in its details'
);

-- A row that was granted, but not noted: as if somebody had turned it back.
update billing.bulk_grant_rows
set outcome = 'pending', entry_no = null, action_id = null, decided_by = null, decided_at = null
where bulk_id = bulk() and user_id in (b(), c());
select is(run(), 't 2 0 30 0 4969.999999999', 'is found by its key');
select is(
    (select string_agg(entry_count::text, ' ') from billing.credit_accounts where user_id in (b(), c())), '2 2', 'and not granted twice'
);
select is(
    (select string_agg(entry_no::text, ' ') from billing.bulk_grant_rows where user_id in (b(), c())), '2 2', 'its entry is noted'
);

-- Limits, in the middle of it.
update billing.admin_limits set max_daily_total = 50, max_credit_adjustment = 15, approval_above = 12 where role = 'admin';
select billing.set_account_status(chief(), d(), 'closed', 'r') \g /dev/null
select billing.open_account(admin()) \g /dev/null
select billing.begin_bulk_grant(
    admin(), 'April', file(line(a(), '12.5'), line(b(), '10'), line(c(), '16'), line(d(), '1'), line(e(), '11'), line(admin(), '1')), 'r'
) \g /dev/null
create or replace function run(p_limit int default 100, p_actor uuid default admin()) returns text language sql as $$
    select concat_ws(' ', success, reason, granted, refused, amount, pending, coalesce(left_today::text, '-'))
    from billing.run_bulk_grant(p_actor, bulk('April'), p_limit)
$$;
select is(run(), 't 1 5 10 0 9.999999999', 'what the limits refuse does not hold up what they allow');
select is(
    stored('April'),
    'a 12.5 refused approval_required, b 10 granted, c 16 refused admin_limit_exceeded, d 1 refused account_closed, '
    'e 11 refused admin_limit_exceeded, d 1 refused approval_required',
    'each is refused by name'
);
select is(
    (select string_agg(outcome, ' ' order by outcome) from billing.admin_actions_log
        where action = 'admin_grant_credits' and outcome <> 'done' and details ->> 'idempotency_key' = 'bulk:' || bulk('April')),
    'account_closed admin_limit_exceeded admin_limit_exceeded approval_required approval_required', 'and logged'
);
select billing.retry_bulk_grant(chief(), bulk('April'), 'r') \g /dev/null
select is(
    (select concat_ws(' ', success, granted, refused, amount, pending) from billing.run_bulk_grant(chief(), bulk('April'))),
    't 4 1 40.5 0', 'another admin goes on under their own limits'
);
select is(
    (select string_agg(actor::text, ' ') from billing.credit_ledger
        where user_id in (b(), e()) and idempotency_key = 'bulk:' || bulk('April')),
    admin() || ' ' || chief(), 'and stands in the ledger'
);

-- What admin_grant_credits would raise is the refusal of one row.
select billing.begin_bulk_grant(
    chief(), 'May', file(line(a(), '1', '{"expires_at": "2025-03-10 12:01"}'), line(b(), '1'), line(c(), '2'), line(e(), '3')), 'r'
) \g /dev/null
select billing.admin_grant_credits(chief(), b(), 5, 'r', p_idempotency_key => 'bulk:' || bulk('May')) \g /dev/null
update billing.credit_accounts set balance = 1000000000000000 where user_id = c();
set local tap.now = '2025-03-10 12:01+00';
select is(
    (select concat_ws(' ', success, granted, refused, amount, pending) from billing.run_bulk_grant(chief(), bulk('May'))), 't 1 3 3 0',
    'the others go on'
);
select is(
    stored('May'), 'a 1 refused expiry_not_ahead, b 1 refused idempotency_key_reused, c 2 refused amount_too_large, e 3 granted',
    'by the name of the error'
);

-- Who may not.
select billing.begin_bulk_grant(chief(), 'June', file(line(a(), '1')), 'r') \g /dev/null
select is(
    (select concat_ws(' ', success, reason, granted, refused, amount, pending) from billing.run_bulk_grant(a(), bulk('June'))),
    'f not_an_admin 0 0 0 1', 'a user is no admin'
);
select is(
    (select concat_ws(' ', target_user_id, action, outcome, details ->> 'name') from billing.admin_actions_log where admin_user_id = a()),
    '00000000-0000-0000-0000-000000000000 run_bulk_grant not_an_admin June', 'it is logged'
);
select throws_ok(format('select billing.run_bulk_grant(%s)', arguments), code, name, name || ': ' || arguments)
from (values
    ('null, bulk(''June'')', 'UC400', 'invalid_request'), ('chief(), null', 'UC404', 'bulk_grant_not_found'),
    ('chief(), nobody()', 'UC404', 'bulk_grant_not_found'), ('chief(), bulk(''June''), 0', 'UC422', 'limit_out_of_range'),
    ('chief(), bulk(''June''), 501', 'UC422', 'limit_out_of_range'), ('chief(), bulk(''June''), null', 'UC422', 'limit_out_of_range')
) c (arguments, code, name);

select * from finish();
rollback;
