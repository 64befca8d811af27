-- An upgrade grants the difference of this period, a downgrade nothing; up, down and up again mints no credits.
\ir ../setup.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(a()) \g /dev/null
create function does(p_actor uuid, p_tier text, p_user uuid default a()) returns text language sql as $$
    select concat_ws(' ', success, reason, coalesce(entry_no, -1), amount, balance_after, replayed)
    from billing.change_tier(p_actor, p_user, p_tier, 'a try')
$$;

select is(does(admin(), 'tier_2_20'), 't 2 20.00 25.00 f', 'an upgrade grants what is missing to the new amount');
select rows_are(
    $$
    select l.type, l.amount, l.actor, l.reference_type, l.reference_id, g.source, g.priority, g.expires_at
    from billing.credit_ledger l join billing.credit_grants g using (user_id, entry_no)
    where user_id = a() and entry_no = 2
    $$,
    $$values ('tier_grant', 20, admin(), 'period', '2025-03', 'tier_grant', 10, '2025-04-01 00:00+00'::timestamptz)$$,
    'as a tier grant of this period'
);
select rows_are(
    $$select admin_user_id, action, amount, outcome, details from billing.admin_actions_log where target_user_id = a()$$,
    $$
    values (admin(), 'change_tier', 20, 'done',
        '{"before": "free", "after": "tier_2_20", "entry_no": 2, "balance_after": 25}'::jsonb)
    $$,
    'the log tells it'
);
select is((select day_total from billing.user_roles where user_id = admin()), 20::numeric, 'the difference counts in the admin''s day');

select billing.deduct_credits(a(), 24) \g /dev/null
select is(does(admin(), 'free'), 't -1 0 1.00 f', 'a downgrade moves nothing');
select is(does(admin(), 'tier_2_20'), 't -1 0 1.00 f', 'R11: up again grants nothing');
select is(does(admin(), 'free'), 't -1 0 1.00 f', 'R11: nor down');
select is(does(admin(), 'tier_6_50'), 't 4 30.00 31.00 f', 'R11: higher up grants the difference to what was granted');
select is(does(admin(), 'tier_2_20'), 't -1 0 31.00 f', 'R11: and down');
select is(does(admin(), 'tier_6_50'), 't -1 0 31.00 f', 'R11: and up is nothing');
select is((billing.get_account(a())).tier, 'tier_6_50', 'the tier is the last one');
select is(does(admin(), 'tier_6_50'), 't -1 0 31.00 f', 'the same tier is no change');

-- The next period.

set local tap.now = '2025-04-10 12:00+00';
select is(
    does(admin(), 'tier_12_100'), 't 8 50.00 105.00 f',
    'in a new period its grant is caught up at the old tier, then the difference is made'
);
select rows_are(
    $$
    select type, amount, reference_id, actor, balance_after from billing.credit_ledger where user_id = a() and entry_no > 4
    order by entry_no
    $$,
    $$
    values ('expiry', -1, null, null, 30), ('expiry', -30, null, null, 0), ('tier_grant', 55, '2025-04', null, 55),
        ('tier_grant', 50, '2025-04', admin(), 105)
    $$,
    'after what had expired'
);
set local tap.now = '2025-05-10 12:00+00';
select is(does(admin(), 'free'), 't -1 0 105.00 f', 'a downgrade counts from the next period: this one is caught up before it');
set local tap.now = '2025-06-10 12:00+00';
select is(does(admin(), 'free'), 't -1 0 5.00 f', 'the next one is the new tier''s');
update billing.billing_tiers set monthly_credits = 8 where name = 'free';
select is((billing.open_account(b())).balance, 5.00, 'a changed amount does not count in this period');
set local tap.now = '2025-07-10 12:00+00';
select is(does(admin(), 'free'), 't -1 0 8.00 f', 'but in the next');

-- A tier's name can come back with another amount.
create function gold(p_monthly_credits int) returns jsonb language sql as $$
    select jsonb_set(
        billing.get_config(), '{tiers,gold}',
        billing.get_config() #> '{tiers,free}' || jsonb_build_object('rank', 50, 'monthly_credits', p_monthly_credits)
    )
$$;
select billing.apply_config(billing.get_config(), true) \g /dev/null
select billing.apply_config(gold(10)) \g /dev/null
select billing.open_account(d(), 'free') \g /dev/null
select is(does(admin(), 'gold', d()), 't 2 2 10 f', 'up to a tier');
select is(does(admin(), 'free', d()), 't -1 0 10 f', 'and back');
select billing.apply_config(billing.get_config() #- '{tiers,gold}') \g /dev/null
select billing.apply_config(gold(20)) \g /dev/null
select is(does(admin(), 'gold', d()), 't 3 10 20 f', 'and up again, when it grants more');

-- Keys.

create function again(p_actor uuid, p_tier text, p_key text default 'key') returns text language sql as $$
    select concat_ws(' ', success, reason, coalesce(entry_no, -1), trim_scale(amount), trim_scale(balance_after), replayed)
    from billing.change_tier(p_actor, e(), p_tier, 'a try', p_key)
$$;
select billing.open_account(e()) \g /dev/null
select is(again(a(), 'tier_2_20'), 'f not_an_admin -1 0 8 f', 'a refusal');
select is(again(admin(), 'tier_2_20'), 't 2 17 25 f', 'binds no key');
select is(again(admin(), 'tier_2_20'), 't 2 17 25 t', 'the same request is replayed');
select billing.change_tier(admin(), e(), 'free', 'r') \g /dev/null
select billing.adjust_credits(admin(), e(), 1, 'r', 'key') \g /dev/null
select is(again(admin(), 'tier_2_20'), 't 2 17 25 t', 'also when the account has moved on');
select is((billing.get_account(e())).tier, 'free', 'which stays where it is');
select is(
    (billing.change_tier(admin(), e(), 'tier_2_20', 'r', 'key')).action_id,
    (select action_id from billing.admin_actions_log
        where target_user_id = e() and action = 'change_tier' and outcome = 'done' and details ->> 'idempotency_key' = 'key'),
    'with the action that it was'
);
select is(again(admin(), 'free', 'down'), 't -1 0 26 f', 'what grants nothing has a key too');
select is(again(admin(), 'free', 'down'), 't -1 0 26 t', 'and is replayed');
select is(
    (select count(*) from billing.admin_actions_log where target_user_id = e() and action = 'change_tier'), 4::bigint,
    'a replay is no action'
);
select throws_ok(format('select again(%s)', arguments), 'UC409', 'idempotency_key_reused', difference)
from (values
    ('admin(), ''free''', 'another tier is another request'), ('chief(), ''tier_2_20''', 'another admin too')
) c (arguments, difference);
select is(
    (billing.change_tier(admin(), d(), 'gold', 'r', 'key')).replayed, false, 'another user''s key is another key'
);

-- The own account: the credits of this month, and those that would follow.

select billing.open_account(u) from unnest(array[admin(), chief()]) u \g /dev/null
select is(does(chief(), 'tier_2_20', chief()), 'f approval_required -1 0 8 f', 'nobody moves themselves up alone');
select billing.change_tier(admin(), chief(), 'tier_6_50', 'r'), billing.change_tier(admin(), chief(), 'free', 'r')
\g /dev/null
select is(
    does(chief(), 'tier_2_20', chief()), 'f approval_required -1 0 55.00 f', 'not even where this month has no difference'
);
select is(does(chief(), 'free', chief()), 't -1 0 55.00 f', 'the same tier is no change');
select is((billing.get_account(chief())).tier, 'free', 'the tier is the one that it was');

-- Refusals.

select is(does(a(), 'tier_2_20'), 'f not_an_admin -1 0 8.00 f', 'a user changes no tier');
update billing.admin_limits set max_credit_adjustment = 79.999999999 where role = 'admin';
select is(does(admin(), 'tier_12_100'), 'f admin_limit_exceeded -1 0 8.00 f', 'an upgrade is a gift within the admin''s limits');
update billing.admin_limits set max_credit_adjustment = null, approval_above = 79 where role = 'admin';
select is(does(admin(), 'tier_12_100'), 'f approval_required -1 0 8.00 f', 'R17: or of two admins');
update billing.admin_limits set approval_above = null where role = 'admin';
select billing.set_account_status(admin(), a(), 'closed', 'r') \g /dev/null
select is(does(admin(), 'tier_2_20'), 'f account_closed -1 0 8.00 f', 'nor does a closed account');
select is((billing.get_account(a())).tier, 'free', 'it stays');
select is(
    (
        select string_agg(outcome, ' ' order by outcome) from billing.admin_actions_log
        where target_user_id = a() and outcome <> 'done'
    ),
    'account_closed admin_limit_exceeded approval_required not_an_admin', 'each is logged'
);

select throws_ok('select billing.change_tier(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, a(), ''free'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), null, ''free'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''free'', repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('admin(), a(), ''free'', ''r'', ''''', 'UC400', 'invalid_request'),
    ('admin(), nobody(), ''free'', ''r''', 'UC404', 'account_not_found'),
    ('admin(), a(), ''silver'', ''r''', 'UC404', 'unknown_tier'),
    ('admin(), a(), null, ''r''', 'UC404', 'unknown_tier'),
    ('admin(), a(), ''free'', null', 'UC422', 'reason_required'),
    ('admin(), a(), ''free'', '' ''', 'UC422', 'reason_required')
) c (arguments, code, name);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
