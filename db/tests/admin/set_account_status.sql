-- An admin freezes, closes and reopens accounts; reopening catches missed grants up; each attempt is in the log.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null
create function does(p_actor uuid, p_status text, p_user uuid default a()) returns text language sql as $$
    select concat_ws(' ', success, reason, amount, coalesce(entry_no, -1), balance_after, replayed)
    from billing.set_account_status(p_actor, p_user, p_status, 'a try')
$$;

select is(does(admin(), 'frozen'), 't 0 -1 5.00 f', 'an admin freezes an account');
select is((billing.get_account(a())).status, 'frozen', 'which is frozen');
select is(does(admin(), 'frozen'), 't 0 -1 5.00 f', 'once more is fine');
select is(does(a(), 'active'), 'f not_an_admin 0 -1 5.00 f', 'a user does not unfreeze it');
select is((billing.get_account(a())).status, 'frozen', 'it is frozen still');
select is(does(admin(), 'active'), 't 0 -1 5.00 f', 'an admin does');
select is(
    (select count(*) from billing.credit_grants where user_id = a()), 1::bigint, 'the period''s grant is not made twice'
);
select rows_are(
    $$
    select admin_user_id, action, amount, reason, outcome, details from billing.admin_actions_log
    where target_user_id = a() and admin_user_id <> chief() and (details ->> 'before') <> 'active'
        and (details ->> 'after') <> 'frozen'
    order by outcome
    $$,
    $$
    values
        (
            admin(), 'set_account_status', null::numeric, 'a try', 'done',
            '{"before": "frozen", "after": "active", "wanted": "active", "balance_after": 5.00}'::jsonb
        ),
        (
            a(), 'set_account_status', null, 'a try', 'not_an_admin',
            '{"before": "frozen", "after": "active", "wanted": "active", "balance_after": 5.00}'
        )
    $$,
    'the log tells both'
);

-- Closing.

select billing.hold_credits(a(), 1) \g /dev/null
select is(does(admin(), 'closed'), 'f account_has_holds 0 -1 5.00 f', 'an account with live holds is not closed');
select is((billing.get_account(a())).status, 'active', 'and stays as it was');
set local tap.now = '2025-03-10 12:15+00';
select is(does(admin(), 'closed'), 't 0 -1 5.00 f', 'overdue ones do not count');
select is((billing.get_account(a())).balance, 5.00, 'what a closed account holds stays there');
select is(does(admin(), 'active'), 't 0 -1 5.00 f', 'it can be reopened');
select is((billing.deduct_credits(a(), 5)).success, true, 'with its credits');

-- Catching up.

insert into billing.billing_tiers (name, display_name, monthly_credits, price_cents, rank)
values ('lasting', 'Lasting', 7, 0, 100);
select billing.open_account(b(), 'lasting') \g /dev/null
select is(does(admin(), 'frozen', b()), 't 0 -1 7 f', 'an account is frozen');
set local tap.now = '2025-06-10 12:00+00';
select is(does(admin(), 'active', b()), 't 0 -1 28 f', 'becoming active it gets the grants of the three months it missed');
select rows_are(
    'select reference_id, amount from billing.credit_grants where user_id = b() order by grant_no',
    $$values ('2025-03', 7), ('2025-04', 7), ('2025-05', 7), ('2025-06', 7)$$,
    'R08: one for each period, in order; R29: and none takes what is there'
);
select is(does(admin(), 'active', b()), 't 0 -1 28 f', 'R08: once');
select is(does(admin(), 'active'), 't 0 -1 5.00 f', 'grants that would have expired already are skipped');
select is(
    (select max(reference_id) || ' ' || count(*) from billing.credit_grants where user_id = a()), '2025-06 2',
    'of a monthly tier only the current one is made'
);
set local tap.now = '2025-12-31 23:59:59+00';
select is(does(admin(), 'active', b()), 't 0 -1 70 f', 'R30: until December');
set local tap.now = '2026-01-31 00:00+00';
select is(does(admin(), 'active', b()), 't 0 -1 77 f', 'R30: and on into January');
select is(
    (select granted_through from billing.credit_accounts where user_id = b()), '2026-01-01', 'R30: on the 31st too'
);

-- A cap.

update billing.billing_tiers set rollover_cap = 10 where name = 'lasting';
select billing.grant_credits(b(), 100, 'promotion') \g /dev/null
select billing.deduct_credits(b(), 1) \g /dev/null
select billing.hold_credits(b(), 170, '30 days') \g /dev/null
set local tap.now = '2026-02-01 00:00+00';
select is(does(admin(), 'active', b()), 't 0 -1 177 f', 'above the cap unspent tier credits expire, but not what is held');
select billing.release_hold(b(), (select hold_id from billing.list_holds(b()))) \g /dev/null
set local tap.now = '2026-03-01 00:00+00';
select is(does(admin(), 'active', b()), 't 0 -1 117 f', 'R29: nor what was given by other means');
select is(
    (select sum(remaining) from billing.credit_grants where user_id = b() and source = 'tier_grant'), 17::numeric,
    'the cap, and the new grant'
);

-- Closed for months.

update billing.billing_tiers set rollover_cap = null where name = 'lasting';
select billing.open_account(c(), 'lasting') \g /dev/null
select billing.set_account_status(admin(), c(), 'closed', 'r') \g /dev/null
select set_config('tap.now', (billing_private.clock() + interval '3 months')::text, true) \g /dev/null
select billing.set_account_status(admin(), c(), 'active', 'r') \g /dev/null
select is(
    (select count(*) from billing.credit_grants where user_id = c()), 2::bigint,
    'an account that is reopened gets this month''s credits, and none for the months that it was closed'
);

-- Disputes freeze too, and no admin ends them.

set local tap.now = '2025-03-10 12:00+00';
select buys(d(), 10, 'pi_d') \g /dev/null
create function disputed(p_status text, p_id text default 'dp_1') returns text language plpgsql as $$
begin
    perform billing.record_stripe_object(stripe_dispute(p_id, 'pi_d', 1000, p_status));
    return (billing.get_account(d())).status;
end
$$;
select is(disputed('needs_response'), 'frozen', 'a dispute freezes');
select is(does(admin(), 'active', d()), 'f dispute_open 0 -1 10 f', 'an admin does not end what no admin began');
select is(does(a(), 'active', d()), 'f not_an_admin 0 -1 10 f', 'a user still less');
select is(does(admin(), 'frozen', d()), 't 0 -1 10 f', 'an admin freezes it as well');
select is(does(admin(), 'active', d()), 't 0 -1 10 f', 'and ends that');
select is((billing.get_account(d())).status, 'frozen', 'but not the dispute: it stays frozen');
select is(does(admin(), 'active', d()), 'f dispute_open 0 -1 10 f', 'again there is nothing to end');
select rows_are(
    $$
    select outcome, details ->> 'before' || ' ' || (details ->> 'after'), count(*) from billing.admin_actions_log
    where target_user_id = d() and admin_user_id = admin() group by 1, 2 order by 1, 2
    $$,
    $$
    values ('dispute_open', 'frozen active', 2::bigint), ('done', 'frozen frozen', 2)
    $$,
    'the log says what was asked for and refused, and what the status was then'
);
select is(disputed('won'), 'active', 'the dispute ends it');
select is(disputed('needs_response', 'dp_2'), 'frozen', 'another dispute');
select is(does(admin(), 'frozen', d()), 't 0 -1 10 f', 'and an admin');
select is(disputed('won', 'dp_2'), 'frozen', 'when the dispute is won, the admin''s freeze stands');
select is(does(admin(), 'active', d()), 't 0 -1 10 f', 'until the admin ends it');
select is((billing.get_account(d())).status, 'active', 'then nothing is left');
select is(does(admin(), 'active', d()), 't 0 -1 10 f', 'an active account is active');
select is(disputed('needs_response', 'dp_3'), 'frozen', 'a third dispute');
select is(does(admin(), 'closed', d()), 't 0 -1 10 f', 'an admin closes the account meanwhile');
select is(does(admin(), 'active', d()), 't 0 -1 10 f', 'and reopens it');
select is((billing.get_account(d())).status, 'frozen', 'it is frozen as before');
select is(does(admin(), 'closed', d()), 't 0 -1 10 f', 'closed once more');
select is(disputed('won', 'dp_3'), 'closed', 'it stays closed when the dispute is won');
select is(does(admin(), 'active', d()), 't 0 -1 10 f', 'and is reopened');
select is((billing.get_account(d())).status, 'active', 'free');
select is_empty('select from billing.account_freezes where user_id = d()', 'no reason is left behind');

-- Keys.

create function again(p_actor uuid, p_status text, p_key text default 'key') returns text language sql as $$
    select concat_ws(' ', success, reason, amount, coalesce(entry_no, -1), trim_scale(balance_after), replayed)
    from billing.set_account_status(p_actor, d(), p_status, 'another try', p_key)
$$;
select is(again(a(), 'frozen'), 'f not_an_admin 0 -1 10 f', 'a refusal');
select is(again(admin(), 'frozen'), 't 0 -1 10 f', 'binds no key');
select is(again(admin(), 'frozen'), 't 0 -1 10 t', 'the same request is replayed');
select billing.set_account_status(admin(), d(), 'active', 'r') \g /dev/null
select billing.adjust_credits(admin(), d(), 1, 'r', 'key') \g /dev/null
select is(again(admin(), 'frozen'), 't 0 -1 10 t', 'also when it was taken back');
select is((billing.get_account(d())).status, 'active', 'which stays');
select is(
    (billing.set_account_status(admin(), d(), 'frozen', 'r', 'key')).action_id,
    (select action_id from billing.admin_actions_log
        where target_user_id = d() and action = 'set_account_status' and outcome = 'done'
            and details ->> 'idempotency_key' = 'key'),
    'with the action that it was'
);
select is(
    (select count(*) from billing.admin_actions_log where target_user_id = d() and reason = 'another try'), 2::bigint,
    'a replay is no action'
);
select throws_ok(format('select again(%s)', arguments), 'UC409', 'idempotency_key_reused', difference)
from (values
    ('admin(), ''closed''', 'another status is another request'), ('chief(), ''frozen''', 'another admin too')
) c (arguments, difference);
select is(disputed('needs_response', 'dp_4'), 'frozen', 'a dispute');
select is(again(admin(), 'frozen', 'beside'), 't 0 -1 11 f', 'and an admin freeze it');
select is(again(admin(), 'active', 'unfreeze'), 't 0 -1 11 f', 'an end of which the status is another than was asked for');
select is(again(admin(), 'active', 'unfreeze'), 't 0 -1 11 t', 'is the same request');

-- The own account.

select billing.open_account(chief()) \g /dev/null
select is(
    does(chief(), status, chief()), 'f own_account 0 -1 5.00 f', 'no admin decides about their own account: ' || status
)
from unnest(array['frozen', 'closed', 'active']) status;
select is(does(admin(), 'frozen', chief()), 't 0 -1 5.00 f', 'another one freezes it');
select is(does(chief(), 'active', chief()), 'f own_account 0 -1 5.00 f', 'and no super admin ends that for themselves');
select is(does(a(), 'active', a()), 'f not_an_admin 0 -1 5.00 f', 'a user is no admin first of all');

select throws_ok('select billing.set_account_status(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, a(), ''frozen'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), null, ''frozen'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''frozen'', repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('admin(), a(), ''frozen'', ''r'', ''''', 'UC400', 'invalid_request'),
    ('admin(), nobody(), ''frozen'', ''r''', 'UC404', 'account_not_found'),
    ('admin(), a(), ''frozen'', null', 'UC422', 'reason_required'),
    ('admin(), a(), ''frozen'', '' ''', 'UC422', 'reason_required'),
    ('admin(), a(), ''suspended'', ''r''', 'UC422', 'unknown_status'),
    ('admin(), a(), null, ''r''', 'UC422', 'unknown_status')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
