-- An admin gives the credits of a hold back that no call ends, once per key; never on the own account; each is logged.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(u) from unnest(array[a(), b(), admin()]) u \g /dev/null
create function held(p_key text) returns uuid language sql as
$$select hold_id from billing.credit_holds where idempotency_key = p_key$$;
select billing.hold_credits(u, 2, p_idempotency_key => 'one of ' || right(u::text, 1))
from unnest(array[a(), b(), admin()]) u \g /dev/null
select billing.hold_credits(a(), 0.500000001, p_idempotency_key => k) from unnest(array['second', 'captured', 'late']) k
\g /dev/null
select billing.capture_hold(a(), held('captured'), 0.5) \g /dev/null
create function does(p_actor uuid, p_hold uuid, p_user uuid default a(), p_key text default null)
returns text language sql as $$
    select concat_ws(' ', success, reason, coalesce(entry_no, -1), amount, trim_scale(balance_after), replayed)
    from billing.admin_release_hold(p_actor, p_user, p_hold, 'a try', p_key)
$$;
-- The rows that are read here under the API's role.
create temp table ids as select held('one of a') as one;
grant select on ids to billing_api;

set local role billing_api;
select rows_are(
    $$
    select success, reason, entry_no, amount, balance_after, action_id is not null, replayed
    from billing.admin_release_hold(admin(), a(), (select one from ids), 'the call is lost', 'key')
    $$,
    'values (true, null::text, null::bigint, 0::numeric, 4.5, true, false)', 'a hold is released'
);
reset role;
select rows_are(
    $$select status, ended_at, captured from billing.credit_holds where hold_id = held('one of a')$$,
    $$values ('released', '2025-03-10 12:00+00'::timestamptz, 0::numeric)$$, 'it has ended'
);
select rows_are(
    'select balance, held, available from billing.get_account(a())',
    'values (4.5, 1.000000002, 3.499999998)', 'its credits can be spent'
);
select rows_are(
    $$
    select admin_user_id, action, amount, reason, outcome, created_at, details
    from billing.admin_actions_log where target_user_id = a()
    $$,
    $$
    values (
        admin(), 'admin_release_hold', null::numeric, 'the call is lost', 'done', '2025-03-10 12:00+00'::timestamptz,
        jsonb_build_object('hold_id', held('one of a'), 'released', 2, 'balance_after', 4.5, 'idempotency_key', 'key')
    )
    $$,
    'the log says which hold, and how much it was'
);
select is((select day_total from billing.user_roles where user_id = admin()), 0::numeric, 'no credits were moved for the day');

-- Keys.

select is(does(admin(), held('one of a'), p_key => 'key'), 't -1 0 4.5 t', 'the same request is replayed');
select is(
    (billing.admin_release_hold(admin(), a(), held('one of a'), 'r', 'key')).action_id,
    (select action_id from billing.admin_actions_log where target_user_id = a()), 'with the action that it was'
);
select is(
    (select count(*) from billing.admin_actions_log where target_user_id = a()), 1::bigint, 'a replay is no second action'
);
select throws_ok(
    format('select billing.admin_release_hold(%s, a(), %s, ''r'', ''key'')', actor, hold), 'UC409',
    'idempotency_key_reused', difference
)
from (values
    ('admin()', 'held(''second'')', 'another hold is another request'),
    ('chief()', 'held(''one of a'')', 'another admin too')
) c (actor, hold, difference);
select throws_ok(
    $$select billing.admin_release_hold(admin(), a(), held('one of a'), 'r')$$, 'UC409', 'hold_not_active',
    'without its key it has ended'
);
select is(does(admin(), held('one of b'), b(), 'key'), 't -1 0 5 f', 'another user''s key is another key');

-- What lapsed under a hold expires with it.

update billing.credit_holds set expires_at = '2025-04-10 12:00+00' where hold_id = held('late');
update billing.credit_accounts set next_expiry_at = '2025-03-10 12:15+00' where user_id = a();
set local tap.now = '2025-04-02 12:00+00';
select is(does(admin(), held('late')), 't -1 0 0 f', 'a lot that had lapsed under the hold is gone with it');
select is((billing.get_account(a())).held, 0::numeric, 'nothing is held');
set local tap.now = '2025-03-10 12:00+00';

-- Refusals: an answer, a row in the log, and nothing else.

select is(does(b(), held('one of a')), 'f not_an_admin -1 0 0 f', 'a user releases none this way');
select is(does(b(), nobody()), 'f not_an_admin -1 0 0 f', 'and does not learn which there are');
select is(does(admin(), held('one of d'), admin()), 'f own_account -1 0 5 f', 'nor an admin one of the own account');
select is(
    (select status from billing.credit_holds where hold_id = held('one of d')), 'active', 'which is live still'
);
select is(does(chief(), held('one of d'), admin()), 't -1 0 5 f', 'another admin does');
select bag_eq(
    $$
    select target_user_id, admin_user_id, outcome, details ->> 'hold_id' from billing.admin_actions_log
    where action = 'admin_release_hold' and outcome <> 'done'
    $$,
    $$
    values (a(), b(), 'not_an_admin'::text, nobody()::text), (a(), b(), 'not_an_admin', held('one of a')::text),
        (admin(), admin(), 'own_account', held('one of d')::text)
    $$,
    'each is in the log'
);

-- Requests that are none.

select throws_ok('select billing.admin_release_hold(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, a(), nobody(), ''r''', 'UC400', 'invalid_request'),
    ('admin(), null, nobody(), ''r''', 'UC400', 'invalid_request'),
    ('admin(), a(), nobody(), ''r'', ''''', 'UC400', 'invalid_request'),
    ('admin(), a(), nobody(), repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('admin(), nobody(), nobody(), ''r''', 'UC404', 'account_not_found'),
    ('admin(), a(), nobody(), ''r''', 'UC404', 'hold_not_found'),
    ('admin(), a(), null, ''r''', 'UC404', 'hold_not_found'),
    ('admin(), a(), held(''one of b''), ''r''', 'UC404', 'hold_not_found'),
    ('admin(), a(), held(''captured''), ''r''', 'UC409', 'hold_not_active'),
    ('admin(), a(), nobody(), '' ''', 'UC422', 'reason_required'),
    ('admin(), a(), nobody(), null', 'UC422', 'reason_required')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
