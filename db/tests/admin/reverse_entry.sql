-- A reversal gives back, once, what an entry took, to lots like those that paid for it.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null
select billing.grant_credits(a(), 10, 'promotion', p_priority => 60) \g /dev/null
select billing.deduct_credits(a(), 7.000000001) \g /dev/null

select rows_are(
    $$
    select success, reason, entry_no, amount, balance_after, replayed
    from billing.reverse_entry(admin(), a(), 3, 'it failed', 'key')
    $$,
    'values (true, null, 4::bigint, 7.000000001, 15::numeric, false)', 'all of it comes back'
);
select rows_are(
    $$
    select source, amount, remaining, priority, expires_at, from_grant_no
    from billing.credit_grants where user_id = a() and entry_no = 4 order by grant_no
    $$,
    $$
    values ('reversal', 5::numeric, 5::numeric, 10, '2025-04-01 00:00+00'::timestamptz, 1::bigint),
        ('reversal', 2.000000001, 2.000000001, 60, null, 2)
    $$,
    'R15: a monthly credit comes back as one, with its priority and expiry, and a lasting one lasts'
);
select rows_are(
    $$
    select type, amount, reversed_entry_no, reference_type, reference_id, actor, description, idempotency_key, operation
    from billing.credit_ledger where user_id = a() and entry_no = 4
    $$,
    $$values ('reversal', 7.000000001, 3::bigint, 'entry', '3', admin(), 'it failed', 'key', 'reverse_entry')$$,
    'the entry names what it reverses'
);
select rows_are(
    $$
    select admin_user_id, action, amount, reason, outcome, details
    from billing.admin_actions_log where target_user_id = a()
    $$,
    $$
    values (
        admin(), 'reverse_entry', 7.000000001, 'it failed', 'done', jsonb_build_object(
            'entry_no', 4, 'reversed_entry_no', 3, 'balance_after', 15.000000000, 'idempotency_key', 'key'
        )
    )
    $$,
    'as does the log'
);
select is((select day_total from billing.user_roles where user_id = admin()), 7.000000001, 'it counts for the admin''s day');

-- Once.

select rows_are(
    $$select success, entry_no, amount, balance_after, replayed from billing.reverse_entry(admin(), a(), 3, 'x', 'key')$$,
    'values (true, 4::bigint, 7.000000001, 15::numeric, true)', 'the same request is replayed'
);
select throws_ok('select billing.reverse_entry(' || arguments || ')', code, name, difference)
from (values
    ('admin(), a(), 3, ''r''', 'UC409', 'already_reversed', 'without its key it is refused'),
    ('admin(), a(), 3, ''r'', ''key2''', 'UC409', 'already_reversed', 'and under another one'),
    ('admin(), a(), 1, ''r'', ''key''', 'UC409', 'idempotency_key_reused', 'another entry is another request'),
    ('chief(), a(), 3, ''r'', ''key''', 'UC409', 'idempotency_key_reused', 'another admin too')
) c (arguments, code, name, difference);

-- When a lot has expired meanwhile.

select billing.deduct_credits(a(), 6) \g /dev/null
set local tap.now = '2025-04-10 00:00+00';
select rows_are(
    $$select success, amount, balance_after from billing.reverse_entry(admin(), a(), 5, 'r')$$,
    'values (true, 6::numeric, 15::numeric)', 'what is reversed late comes back too'
);
select rows_are(
    $$
    select amount, priority, expires_at from billing.credit_grants
    where user_id = a() and source = 'reversal' and grant_no > 4 order by grant_no
    $$,
    $$values (5::numeric, 10, '2025-04-17 00:00+00'::timestamptz), (1, 60, null)$$,
    'R15: for the grace of seven days, and not for ever'
);
set local tap.now = '2025-04-17 00:00+00';
select is((billing.get_account(a())).balance, 10.000000000, 'R15: then it is gone');

-- Adjustments.

select billing.adjust_credits(admin(), a(), -4, 'r') \g /dev/null
select is(
    (select (l.type, l.amount)::text from billing.credit_ledger l
        where user_id = a() and l.entry_no = (select entry_count from billing.credit_accounts where user_id = a())),
    '(adjustment,-4)', 'a negative adjustment'
);
select is(
    (billing.reverse_entry(admin(), a(), (billing.get_account(a())).entry_count, 'r')).amount, 4::numeric,
    'can be reversed'
);

-- What cannot.

set local tap.now = '2025-05-10 12:00+00';
select billing.open_account(c()) \g /dev/null
select billing.adjust_credits(admin(), c(), 1, 'r') \g /dev/null
select billing.deduct_credits(c(), 100) \g /dev/null
select billing.deduct_credits(c(), 2) \g /dev/null
select billing.reverse_entry(admin(), c(), 4, 'r') \g /dev/null
set local tap.now = '2025-06-10 12:00+00';
select billing.deduct_credits(c(), 0.5) \g /dev/null
select throws_ok(
    format('select billing.reverse_entry(admin(), c(), %s, ''r'')', entry_no), 'UC422', 'entry_not_reversible',
    what || ' cannot be reversed'
)
from (values (1, 'a tier grant'), (2, 'a positive adjustment'), (3, 'a refusal'), (5, 'a reversal'), (6, 'an expiry'))
    e (entry_no, what);

create function refused(p_actor uuid, p_entry_no bigint) returns text language sql as $$
    select concat_ws(' ', success, reason, amount, coalesce(entry_no, -1))
    from billing.reverse_entry(p_actor, c(), p_entry_no, 'a try')
$$;
select is((select type from billing.credit_ledger where user_id = c() and entry_no = 8), 'usage', 'a usage entry');
select is(refused(a(), 8), 'f not_an_admin 0 -1', 'is not reversed by a user');
select is(refused(a(), 1), 'f not_an_admin 0 -1', 'who learns nothing about entries either');
select is(refused(a(), 99), 'f not_an_admin 0 -1', 'nor whether they are there');
update billing.admin_limits set approval_above = 0.4;
select is(refused(admin(), 8), 'f approval_required 0 -1', 'R17: nor by one admin above approval_above');
update billing.admin_limits set max_credit_adjustment = 0.4;
select is(refused(admin(), 8), 'f admin_limit_exceeded 0 -1', 'nor above a limit');
select billing.set_account_status(chief(), c(), 'closed', 'r') \g /dev/null
update billing.admin_limits set max_credit_adjustment = null, approval_above = null;
select is(refused(admin(), 8), 'f account_closed 0 -1', 'nor when the account is closed');
select is(
    (
        select string_agg(concat_ws(' ', outcome, amount), ', ' order by outcome) from billing.admin_actions_log
        where reason = 'a try' and details ->> 'reversed_entry_no' = '8' and not details ? 'entry_no'
    ),
    'account_closed 0.5, admin_limit_exceeded 0.5, approval_required 0.5, not_an_admin', 'each try is logged'
);

-- The own account.

select billing.open_account(chief()) \g /dev/null
select billing.deduct_credits(chief(), 2) \g /dev/null
select rows_are(
    $$select success, reason, entry_no, amount from billing.reverse_entry(chief(), chief(), 2, 'mine')$$,
    $$values (false, 'approval_required', null::bigint, 0::numeric)$$, 'nobody reverses what they have used alone'
);
select is((billing.reverse_entry(admin(), chief(), 2, 'r')).amount, 2::numeric, 'another admin does');

-- Debt.

select billing.open_account(b()) \g /dev/null
select billing.deduct_credits(b(), 4) \g /dev/null
update billing.credit_accounts set debt = 3 where user_id = b();
select is((billing.reverse_entry(admin(), b(), 2, 'r')).balance_after, 5.00, 'the balance is that after the entry');
select is((billing.get_account(b())).balance, 2.00, 'then what came back repays debt');
select is((select debt from billing.credit_accounts where user_id = b()), 0.00, 'which is gone');

-- Requests that are none.

select throws_ok('select billing.reverse_entry(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null, a(), 3, ''r''', 'UC400', 'invalid_request'),
    ('admin(), null, 3, ''r''', 'UC400', 'invalid_request'),
    ('admin(), a(), 3, ''r'', ''''', 'UC400', 'invalid_request'),
    ('admin(), nobody(), 3, ''r''', 'UC404', 'account_not_found'),
    ('admin(), a(), 99, ''r''', 'UC404', 'entry_not_found'),
    ('admin(), a(), null, ''r''', 'UC404', 'entry_not_found'),
    ('admin(), a(), 3, null', 'UC422', 'reason_required'),
    ('admin(), a(), 3, '' ''', 'UC422', 'reason_required')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
