-- Another admin refuses what was asked for, with a reason, and once; nothing moves, and it is logged.
\ir ../setup.psql

create function other() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000ae'::uuid$$;
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), u, 'admin') from unnest(array[admin(), other()]) u \g /dev/null
select billing.open_account(u) from unnest(array[a(), other()]) u \g /dev/null
create temp table requests as
select name, (
    billing.request_approval(
        admin(), case name when 'of the decider' then other() else a() end, 'adjust_credits', name, 20
    )
).approval_id as id
from unnest(array['first', 'second', 'of the decider', 'late', 'approved']) name;
grant select on requests to billing_api;
create function id(p_name text) returns uuid stable language sql as $$select id from requests where name = p_name$$;
create function does(p_name text, p_actor uuid default other()) returns text language sql as $$
    select concat_ws(' ', success, reason, status, 'entry', entry_no, amount, balance_after, action_id, replayed)
    from billing.decline_request(p_actor, id(p_name), 'no')
$$;

set local tap.now = '2025-03-11 12:00+00';
set local role billing_api;
select rows_are(
    $$
    select success, reason, approval_id = id, status, action_id, entry_no, amount, balance_after, refund_id, call_id,
        replayed
    from requests, billing.decline_request(other(), id, 'they had enough') where name = 'first'
    $$,
    $$
    values (
        true, null::text, true, 'declined', null::uuid, null::bigint, 0::numeric, null::numeric, null::uuid, null::uuid,
        false
    )
    $$,
    'another admin declines'
);
reset role;
select rows_are(
    $$
    select status, decided_by, decided_at, decision_reason, action_id from billing.approval_requests
    where approval_id = id('first')
    $$,
    $$values ('declined', other(), '2025-03-11 12:00+00'::timestamptz, 'they had enough', null::uuid)$$,
    'the request says who, when and why'
);
select rows_are(
    $$
    select target_user_id, admin_user_id, amount, reason, outcome, created_at, details from billing.admin_actions_log
    where action = 'decline_request'
    $$,
    $$
    values (
        a(), other(), null::numeric, 'they had enough', 'done', '2025-03-11 12:00+00'::timestamptz,
        jsonb_build_object(
            'approval_id', id('first'), 'wanted', 'adjust_credits', 'amount', 20, 'requested_by', admin()
        )
    )
    $$,
    'as does the log'
);
select is((billing.get_account(a())).balance, 5.00, 'nothing has moved');
select is((select count(*) from billing.credit_ledger where user_id = a()), 1::bigint, 'and there is no entry');

-- Once.

select is(does('first'), 't declined entry 0 t', 'declined again it is replayed');
select is(
    (select count(*) from billing.admin_actions_log where action = 'decline_request'), 1::bigint, 'and is not logged again'
);
select is(
    (select decision_reason from billing.approval_requests where approval_id = id('first')), 'they had enough',
    'the reason is the first one'
);
select throws_ok($$select does('first', chief())$$, 'UC409', 'approval_not_open', 'by yet another admin it is not');
select billing.approve_request(other(), id('approved'), 'r') \g /dev/null
select throws_ok($$select does('approved')$$, 'UC409', 'approval_not_open', 'what one has approved one does not decline');
select is(
    (select status from billing.approval_requests where approval_id = id('approved')), 'approved', 'it stays what it is'
);

-- Whoever may not.

select is(does('second', admin()), 'f own_request open entry 0 f', 'who asked withdraws');
select is(does('second', a()), 'f not_an_admin entry 0 f', 'a user declines nothing, and learns nothing');
select is(does('approved', a()), 'f not_an_admin entry 0 f', 'of what was approved neither');
select is(does('second', nobody()), 'f not_an_admin entry 0 f', 'nor does somebody without an account');
select is(
    (select string_agg(outcome, ' ' order by outcome collate "C") from billing.admin_actions_log
        where action = 'decline_request' and outcome <> 'done'),
    'not_an_admin not_an_admin not_an_admin own_request', 'each try is logged'
);
select is(does('of the decider'), 't declined entry 0 f', 'who would get it may decline it');
set local tap.now = '2025-03-17 12:00+00';
select throws_ok($$select does('late')$$, 'UC409', 'approval_not_open', 'what has expired needs no refusal');
set local tap.now = '2025-03-17 11:59:59.999999+00';
select is(does('late'), 't declined entry 0 f', 'up to the last moment it has one');

select throws_ok('select billing.decline_request(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, id(''second''), ''r''', 'UC400', 'invalid_request'),
    ('chief(), id(''second''), repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('chief(), nobody(), ''r''', 'UC404', 'approval_not_found'),
    ('chief(), null, ''r''', 'UC404', 'approval_not_found'),
    ('chief(), id(''second''), null', 'UC422', 'reason_required'),
    ('chief(), id(''second''), '' ''', 'UC422', 'reason_required')
) c (arguments, code, name);

select * from finish();
rollback;
