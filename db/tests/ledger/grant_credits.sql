-- A grant is an entry and a lot, once per key for ever, and repays debt first.
\ir ../setup.psql

select billing.bootstrap_super_admin(admin()) \g /dev/null
select billing.open_account(a()) \g /dev/null

select rows_are(
    $$
    select user_id, entry_no, type, amount, balance_after, description, reference_type, reference_id, idempotency_key,
        metadata, actor, created_at, grant_no, reversed_entry_no, length(entry_hash), available, replayed
    from billing.grant_credits(
        a(), 10.5, 'promotion', 'spring', '2025-05-01 00:00+00', 20, 'campaign', 'c1', 'key', '{"x": 1, "source": "mine"}'
    )
    $$,
    $$
    values (
        a(), 2::bigint, 'adjustment', 10.5, 15.5, 'spring', 'campaign', 'c1', 'key',
        '{"x": 1, "source": "mine"}'::jsonb, null::uuid, '2025-03-10 12:00+00'::timestamptz, null::bigint,
        null::bigint, 64, 15.5, false
    )
    $$,
    'a grant with everything'
);
select rows_are(
    $$
    select grant_no, source, amount, remaining, priority, expires_at, granted_at, entry_no, reference_type, reference_id
    from billing.credit_grants where user_id = a() and grant_no = 2
    $$,
    $$
    values (
        2::bigint, 'promotion', 10.5, 10.5, 20, '2025-05-01 00:00+00'::timestamptz, '2025-03-10 12:00+00'::timestamptz,
        2::bigint, 'campaign', 'c1'
    )
    $$,
    'its lot'
);
select billing.open_account(e()) \g /dev/null
select billing.grant_credits(e(), 1, 'trial_grant') \g /dev/null
select billing.grant_credits(e(), 1, 'adjustment') \g /dev/null
select billing.grant_credits(e(), 1, 'refund') \g /dev/null
select billing.grant_credits(e(), 1, 'promotion') \g /dev/null
select rows_are(
    $$
    select l.type, g.source, g.priority, g.expires_at
    from billing.credit_ledger l join billing.credit_grants g using (user_id, entry_no)
    where user_id = e() and entry_no > 1
    order by entry_no
    $$,
    $$
    values ('trial_grant', 'trial_grant', 10, null::timestamptz), ('adjustment', 'adjustment', 50, null),
        ('refund', 'refund', 50, null), ('adjustment', 'promotion', 50, null)
    $$,
    'each source with its type, its priority, and no expiry'
);

-- Keys.

select billing.deduct_credits(a(), 0.5) \g /dev/null
select is(
    (
        select (entry_no, amount, balance_after, description, available, replayed)::text
        from billing.grant_credits(a(), 10.50, 'promotion', 'autumn', null, 90, 'campaign', 'c1', 'key')
    ),
    '(2,10.5,15.50,spring,15.00,t)',
    'the same amount, source and reference is replayed, whatever else it says'
);
set local tap.now = '2026-03-10 12:00+00';
select is(
    (
        select (entry_no, replayed)::text
        from billing.grant_credits(a(), 10.5, 'promotion', null, '2025-05-01 00:00+00', null, 'campaign', 'c1', 'key')
    ),
    '(2,t)',
    'R07: a year later too, when its expiry has passed'
);
select is(
    (select count(*) from billing.credit_grants where user_id = a()), 2::bigint, 'R07: and there is no second lot'
);
select throws_ok('select billing.grant_credits(' || arguments || ')', 'UC409', 'idempotency_key_reused', difference)
from (values
    ('a(), 10, ''promotion'', p_reference_type => ''campaign'', p_reference_id => ''c1'', p_idempotency_key => ''key''',
        'another amount is another request'),
    ('a(), 10.5, ''refund'', p_reference_type => ''campaign'', p_reference_id => ''c1'', p_idempotency_key => ''key''',
        'another source too'),
    ('a(), 10.5, ''adjustment'', p_reference_type => ''campaign'', p_reference_id => ''c1'', p_idempotency_key => ''key''',
        'even one of the same type'),
    ('a(), 10.5, ''promotion'', p_reference_type => ''campaign'', p_reference_id => ''c2'', p_idempotency_key => ''key''',
        'another reference_id too'),
    ('a(), 10.5, ''promotion'', p_reference_id => ''c1'', p_idempotency_key => ''key''', 'another reference_type too')
) c (arguments, difference);
select is(
    (billing.deduct_credits(a(), 0.000000001, p_idempotency_key => 'key')).replayed, false, 'a key belongs to its function'
);

-- Settling.

set local tap.now = '2025-03-10 12:00+00';
select billing.open_account(b()) \g /dev/null
select billing.deduct_credits(b(), 2) \g /dev/null
select billing.grant_credits(b(), 4, 'trial_grant', p_priority => 0) \g /dev/null
select rows_are(
    $$select grant_no, from_used, to_used from billing.credit_burns where user_id = b()$$,
    $$values (1::bigint, 0::numeric, 2::numeric)$$,
    'what was used before a grant is paid by the lots of before, although the new one burns first'
);
select is(
    (select array_agg(grant_no) from billing.list_grants(b())), array[2, 1]::bigint[], 'from then on it does'
);
select is(
    (select (settled_total, next_expiry_at)::text from billing.credit_accounts where user_id = b()),
    (2, '2025-04-01 00:00+00'::timestamptz)::text, 'the account is settled'
);
set local tap.now = '2025-04-01 00:00+00';
select is(
    (
        select (balance_after, available)::text
        from billing.grant_credits(b(), 1, 'promotion', p_expires_at => '2025-04-01 00:00:00.000001+00')
    ),
    '(5.00,5.00)', 'R25: what has expired goes first: 4 of the lot that does not, and 1'
);
select is(
    (billing.get_account(b())).next_expiry_at, '2025-04-01 00:00:00.000001+00', 'the earliest end that lies ahead is known'
);

-- Debt.

select billing.open_account(c()) \g /dev/null
update billing.credit_accounts set debt = 3.5 where user_id = c();
select is(
    (
        select (amount, balance_after, available)::text
        from billing.grant_credits(c(), 2, 'promotion', p_idempotency_key => 'debt')
    ),
    '(2,7.00,5.00)', 'a grant pays debt first: nothing of this one is left'
);
select is((select debt from billing.credit_accounts where user_id = c()), 1.5, 'the debt is less');
select is(
    (select (amount, available)::text from billing.grant_credits(c(), 4, 'promotion')), '(4,7.50)',
    'the next pays the rest, and what is over is there to spend'
);
select rows_are(
    $$
    select type, amount, balance_after, grant_no from billing.credit_ledger where user_id = c() and entry_no > 1
    order by entry_no
    $$,
    $$
    values ('adjustment', 2::numeric, 7::numeric, null::bigint), ('debt_repayment', -2, 5, 2), ('adjustment', 4, 9, null),
        ('debt_repayment', -1.5, 7.5, 3)
    $$,
    'each repayment is an entry that names its lot'
);
select rows_are(
    'select grant_no, remaining from billing.credit_grants where user_id = c() order by grant_no',
    'values (1::bigint, 5::numeric), (2, 0), (3, 2.5)', 'lots that were there are not taken for debt'
);
select is((select debt from billing.credit_accounts where user_id = c()), 0::numeric, 'and the debt is gone');

-- Closed, frozen.

select billing.set_account_status(admin(), c(), 'frozen', 'r') \g /dev/null
select lives_ok('select billing.grant_credits(c(), 1, ''refund'')', 'a frozen account can be granted credits');
select billing.set_account_status(admin(), c(), 'closed', 'r') \g /dev/null
select throws_ok(
    'select billing.grant_credits(c(), 1, ''refund'')', 'UC409', 'account_closed', 'a closed one cannot'
);
select is(
    (billing.grant_credits(c(), 2, 'promotion', p_idempotency_key => 'debt')).replayed, true,
    'but a retry of what was done before is told'
);

-- Requests that are none.

select throws_ok('select billing.grant_credits(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, 1, ''promotion''', 'UC400', 'invalid_request'),
    ('a(), null, ''promotion''', 'UC400', 'invalid_request'),
    ('nobody(), 1, ''promotion''', 'UC404', 'account_not_found'),
    ('a(), 0, ''promotion''', 'UC422', 'amount_not_positive'),
    ('a(), -1, ''promotion''', 'UC422', 'amount_not_positive'),
    ('a(), 0.0000000001, ''promotion''', 'UC422', 'amount_too_precise'),
    ('a(), 1000000000000.1, ''promotion''', 'UC422', 'amount_too_large'),
    ('a(), ''NaN'', ''promotion''', 'UC422', 'amount_too_large'),
    ('a(), ''infinity'', ''promotion''', 'UC422', 'amount_too_large'),
    ('a(), 1, ''tier_grant''', 'UC422', 'unknown_source'),
    ('a(), 1, ''purchase''', 'UC422', 'unknown_source'),
    ('a(), 1, ''migration''', 'UC422', 'unknown_source'),
    ('a(), 1, ''reversal''', 'UC422', 'unknown_source'),
    ('a(), 1, ''gift''', 'UC422', 'unknown_source'),
    ('a(), 1, null', 'UC422', 'unknown_source'),
    ('a(), 1, ''promotion'', p_expires_at => ''2026-03-10 12:00+00''', 'UC422', 'expiry_not_ahead'),
    ('a(), 1, ''promotion'', p_expires_at => ''-infinity''', 'UC422', 'expiry_not_ahead'),
    ('a(), 1, ''promotion'', p_expires_at => ''infinity''', 'UC422', 'expiry_not_ahead'),
    ('a(), 1, ''promotion'', p_priority => -1', 'UC400', 'invalid_request'),
    ('a(), 1, ''promotion'', p_priority => 1001', 'UC400', 'invalid_request'),
    ('a(), 1, ''promotion'', p_idempotency_key => ''''', 'UC400', 'invalid_request'),
    ('a(), 1, ''promotion'', p_metadata => ''[]''', 'UC400', 'invalid_request'),
    ('a(), 1, ''promotion'', p_description => repeat(''d'', 2001)', 'UC400', 'invalid_request')
) c (arguments, code, name);
select lives_ok('select billing.grant_credits(a(), 1000000000000, ''promotion'', p_priority => 1000)', 'the largest grant');
update billing.credit_accounts set balance = 999999999999999 where user_id = b();
select throws_ok(
    'select billing.grant_credits(b(), 1.000000001, ''promotion'')', 'UC422', 'amount_too_large',
    'a balance beyond the largest one is refused by name'
);

select * from finish();
rollback;
