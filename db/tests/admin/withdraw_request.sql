-- Who asked takes it back, and nobody else does, as long as it is open; nothing moves, and it is logged.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null
create temp table requests as
select name, (billing.request_approval(admin(), a(), 'adjust_credits', name, 20)).approval_id as id
from unnest(array['first', 'second', 'third', 'late', 'approved']) name;
grant select on requests to billing_api;
create function id(p_name text) returns uuid stable language sql as $$select id from requests where name = p_name$$;
create function does(p_name text, p_actor uuid default admin(), p_reason text default null) returns text language sql as $$
    select concat_ws(' ', success, reason, status, 'entry', entry_no, amount, balance_after, action_id, replayed)
    from billing.withdraw_request(p_actor, id(p_name), p_reason)
$$;

set local tap.now = '2025-03-11 12:00+00';
set local role billing_api;
select rows_are(
    $$
    select success, reason, approval_id = id, status, action_id, entry_no, amount, balance_after, refund_id, call_id,
        replayed
    from requests, billing.withdraw_request(admin(), id, 'wrong user') where name = 'first'
    $$,
    $$
    values (
        true, null::text, true, 'withdrawn', null::uuid, null::bigint, 0::numeric, null::numeric, null::uuid, null::uuid,
        false
    )
    $$,
    'who asked withdraws'
);
reset role;
select is(does('second'), 't withdrawn entry 0 f', 'with a reason or without');
select rows_are(
    $$
    select reason, status, decided_by, decided_at, decision_reason, action_id from billing.approval_requests
    where status <> 'open' order by reason
    $$,
    $$
    values ('first', 'withdrawn', admin(), '2025-03-11 12:00+00'::timestamptz, 'wrong user', null::uuid),
        ('second', 'withdrawn', admin(), '2025-03-11 12:00+00', null, null)
    $$,
    'the request says so'
);
select rows_are(
    $$
    select target_user_id, admin_user_id, amount, reason, outcome, details from billing.admin_actions_log
    where action = 'withdraw_request' order by reason desc
    $$,
    $$
    values
        (
            a(), admin(), null::numeric, 'wrong user', 'done',
            jsonb_build_object('approval_id', id('first'), 'wanted', 'adjust_credits', 'amount', 20)
        ),
        (
            a(), admin(), null, 'withdrawn', 'done',
            jsonb_build_object('approval_id', id('second'), 'wanted', 'adjust_credits', 'amount', 20)
        )
    $$,
    'as does the log'
);
select is((select count(*) from billing.credit_ledger where user_id = a()), 1::bigint, 'nothing has moved');
select is(does('first'), 't withdrawn entry 0 t', 'withdrawn again it is replayed');
select is((select decision_reason from billing.approval_requests where approval_id = id('first')), 'wrong user', 'as it was');

-- Whoever may not, and what is not open.

select is(does('third', chief()), 'f not_your_request entry 0 f', 'a super admin withdraws nothing of another''s');
select is(does('third', a()), 'f not_your_request entry 0 f', 'nor does whose account it is');
select billing.approve_request(chief(), id('approved'), 'r') \g /dev/null
select is(does('approved', a()), 'f not_your_request entry 0 f', 'who learns nothing of what was approved');
select throws_ok($$select does('approved')$$, 'UC409', 'approval_not_open', 'what was approved is not taken back');
select is((billing.get_account(a())).balance, 25.00, 'it is done');
select rows_are(
    $$
    select admin_user_id, outcome from billing.admin_actions_log where action = 'withdraw_request' and outcome <> 'done'
    order by admin_user_id
    $$,
    $$values (a(), 'not_your_request'), (a(), 'not_your_request'), (chief(), 'not_your_request')$$, 'each try is logged'
);
select billing.set_user_role(chief(), admin(), 'user') \g /dev/null
select is(does('third'), 't withdrawn entry 0 f', 'an admin of yesterday withdraws what is left');
set local tap.now = '2025-03-17 12:00+00';
select throws_ok($$select does('late')$$, 'UC409', 'approval_not_open', 'what has expired needs no withdrawal');
set local tap.now = '2025-03-17 11:59:59.999999+00';
select is(does('late'), 't withdrawn entry 0 f', 'up to the last moment it is one');

select throws_ok('select billing.withdraw_request(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, id(''third'')', 'UC400', 'invalid_request'),
    ('admin(), id(''third''), repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('admin(), nobody()', 'UC404', 'approval_not_found'),
    ('admin(), null', 'UC404', 'approval_not_found'),
    ('admin(), id(''third''), '' ''', 'UC422', 'reason_required')
) c (arguments, code, name);

select * from finish();
rollback;
