-- A preview says what an admin's action would do, and why it would be refused; it leaves nothing, not even in the log.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(u) from unnest(array[a(), b(), chief(), admin()]) u \g /dev/null
select billing.grant_credits(a(), 10, 'promotion', p_priority => 60) \g /dev/null
select billing.deduct_credits(a(), 3) \g /dev/null
select billing.hold_credits(a(), 4, p_idempotency_key => 'hold') \g /dev/null
select billing.hold_credits(chief(), 1) \g /dev/null
select buys(d(), 10, 'pi_d') \g /dev/null
create function held(p_user uuid default a()) returns uuid language sql as
$$select hold_id from billing.credit_holds where user_id = p_user$$;

\ir ../untouched.psql

-- What would happen: before and after of all that the panel shows.

set local role billing_api;
select rows_are(
    $$select * from billing.preview_action(admin(), a(), 'adjust_credits', 7.000000001)$$,
    $$
    values (
        true, null::text, false, 7.000000001, 12::numeric, 19.000000001, 8::numeric, 15.000000001, 4::numeric, 4::numeric,
        0::numeric, 0::numeric, 'free', 'free', 'active', 'active', 4::bigint, null::numeric, null::numeric, null::numeric,
        5000::numeric, 4992.999999999, jsonb_build_array(jsonb_build_object(
            'grant_no', 3, 'source', 'adjustment', 'priority', 50, 'expires_at', null, 'before', 0, 'after', 7.000000001
        ))
    )
    $$,
    'credits would be added, as a lot'
);
select rows_are(
    $$
    select success, amount, balance_after, available_after, held_after, entry_no, left_today_after, lots
    from billing.preview_action(admin(), a(), 'adjust_credits', -6)
    $$,
    $$
    values (
        true, -6::numeric, 6::numeric, 2::numeric, 4::numeric, 4::bigint, 4994::numeric, jsonb_build_array(
            jsonb_build_object(
                'grant_no', 1, 'source', 'tier_grant', 'priority', 10, 'expires_at', '2025-04-01 00:00+00'::timestamptz,
                'before', 2, 'after', 0
            ),
            jsonb_build_object(
                'grant_no', 2, 'source', 'promotion', 'priority', 60, 'expires_at', null, 'before', 10, 'after', 6
            )
        )
    )
    $$,
    'or taken, from the lots in their order'
);
select rows_are(
    $$
    select success, amount, lots from billing.preview_action(
        admin(), a(), 'admin_grant_credits', 5, '2025-06-01 00:00+00'
    )
    $$,
    $$
    values (true, 5::numeric, jsonb_build_array(jsonb_build_object(
        'grant_no', 3, 'source', 'adjustment', 'priority', 50, 'expires_at', '2025-06-01 00:00+00'::timestamptz,
        'before', 0, 'after', 5
    )))
    $$,
    'credits would be granted'
);
select rows_are(
    $$
    select success, amount, balance_after, entry_no, lots
    from billing.preview_action(admin(), a(), 'reverse_entry', p_entry_no => 3)
    $$,
    $$
    values (true, 3::numeric, 15::numeric, 4::bigint, jsonb_build_array(jsonb_build_object(
        'grant_no', 3, 'source', 'reversal', 'priority', 10, 'expires_at', '2025-04-01 00:00+00'::timestamptz,
        'before', 0, 'after', 3
    )))
    $$,
    'an entry would be reversed'
);
select rows_are(
    $$
    select success, amount, balance_after, tier_before, tier_after, entry_no, left_today_after
    from billing.preview_action(admin(), a(), 'change_tier', p_tier => 'tier_2_20')
    $$,
    $$values (true, 20::numeric, 32::numeric, 'free', 'tier_2_20', 4::bigint, 4980::numeric)$$, 'the tier would change'
);
select rows_are(
    $$
    select success, amount, balance_after, status_before, status_after, entry_no, lots
    from billing.preview_action(admin(), a(), 'set_account_status', p_status => 'frozen')
    $$,
    $$values (true, 0::numeric, 12::numeric, 'active', 'frozen', null::bigint, '[]'::jsonb)$$, 'the status would change'
);
reset role;
select rows_are(
    $$
    select success, held_before, held_after, available_before, available_after, balance_after
    from billing.preview_action(admin(), a(), 'admin_release_hold', p_hold_id => held())
    $$,
    $$values (true, 4::numeric, 0::numeric, 8::numeric, 12::numeric, 12::numeric)$$, 'a hold would end'
);
select leaves_nothing('any action that is done');
select rows_are(
    $$
    select success, amount, entry_no, clawed, spent, owed, balance_after, left_today_before, left_today_after
    from billing.preview_action(
        chief(), d(), 'request_refund', 4, p_stripe_refund => true, p_payment_intent_id => 'pi_d'
    )
    $$,
    'values (true, 4::numeric, null::bigint, 4::numeric, 0::numeric, 0::numeric, 6::numeric, 500000::numeric, 500000)',
    'money would go back, and take its credits along'
);
select rows_are(
    $$
    select success, amount, entry_no, clawed, balance_after, left_today_after
    from billing.preview_action(
        chief(), d(), 'request_refund', 4, p_stripe_refund => true, p_payment_intent_id => 'pi_d', p_grant_credits => true
    )
    $$,
    'values (true, 4::numeric, 2::bigint, 4::numeric, 10::numeric, 499996::numeric)', 'or credits too'
);
select leaves_nothing('a refund: no call to Stripe waits');
select billing.deduct_credits(d(), 8) \g /dev/null
select rows_are(
    format(
        $$
        select clawed, spent, owed, balance_before, balance_after, debt_before, debt_after, lots -> 0 -> 'after'
        from billing.preview_action(
            chief(), d(), 'request_refund', 4, p_stripe_refund => true, p_payment_intent_id => 'pi_d', p_owe_spent => %L
        )
        $$,
        owe
    ),
    format(
        'values (2::numeric, %s::numeric, %s::numeric, 2::numeric, 0::numeric, 0::numeric, %2$s::numeric, 0)', spent, owed
    ),
    'what was spent would be owed only where that is wanted: ' || owe
)
from (values (true, 0, 2), (false, 2, 0)) c (owe, spent, owed);
select billing.grant_credits(d(), 8, 'promotion') \g /dev/null
update billing.credit_accounts set debt = 2 where user_id = b();
select rows_are(
    $$select debt_before, debt_after, balance_before, balance_after from billing.preview_action(chief(), b(), 'adjust_credits', 3)$$,
    'values (2::numeric, 0::numeric, 5::numeric, 6::numeric)', 'debt would be repaid first'
);

select billing.open_account(c(), 'buyer') \g /dev/null
select billing.grant_credits(c(), 1, 'promotion', p_expires_at => expires_at, p_priority => priority)
from (values (1, null::timestamptz, 60), (2, null, 50), (3, '2025-05-02 00:00+00', 50), (4, '2025-05-01 00:00+00', 50),
    (5, null, 50)) l (n, expires_at, priority)
order by n \g /dev/null
select is(
    (
        select string_agg(lot ->> 'grant_no', ' ' order by n)
        from billing.preview_action(chief(), c(), 'adjust_credits', -5),
            jsonb_array_elements(lots) with ordinality l (lot, n)
    ),
    '4 3 2 5 1', 'lots come in burn order: by priority, by expiry with none last, by age'
);

-- What is due by the clock is no doing of the action.

update before set rows = everything();
set local tap.now = '2025-04-02 12:00+00';
select rows_are(
    $$
    select balance_before, balance_after, held_before, held_after, lots
    from billing.preview_action(admin(), a(), 'set_account_status', p_status => 'frozen')
    $$,
    $$values (10::numeric, 10::numeric, 0::numeric, 0::numeric, '[]'::jsonb)$$,
    'credits and holds that have expired are not shown as if the action ended them'
);
select is(
    (billing.preview_action(admin(), a(), 'adjust_credits', 1)).entry_no, 5::bigint,
    'but their entry comes before the action''s'
);
select leaves_nothing('they are not settled either');
set local tap.now = '2025-03-10 12:00+00';

-- Refusals. What another admin may approve is shown as it would be then.

create function tells(
    p_actor uuid, p_action text, p_amount numeric default null, p_user uuid default a(), p_tier text default null,
    p_status text default null, p_hold uuid default null, p_intent text default null
)
returns text language sql as $$
    select concat_ws(
        ' ', case when success then 'done' end, reason, case when can_request then 'askable' end, trim_scale(amount),
        trim_scale(balance_before), trim_scale(balance_after), trim_scale(left_today_before), trim_scale(left_today_after),
        jsonb_array_length(lots)
    )
    from billing.preview_action(
        p_actor, p_user, p_action, p_amount, p_tier => p_tier, p_status => p_status, p_hold_id => p_hold,
        p_stripe_refund => p_intent is not null, p_payment_intent_id => p_intent
    )
$$;
select is(
    tells(admin(), 'adjust_credits', 1000.5), 'admin_limit_exceeded askable 1000.5 12 1012.5 5000 5000 1',
    'above the limit it can be asked for; the day is that of whoever approves'
);
update billing.admin_limits set approval_above = 10;
select is(tells(admin(), 'adjust_credits', 10), 'done 10 12 22 5000 4990 1', 'up to approval_above one admin is enough');
select is(tells(admin(), 'adjust_credits', 11), 'approval_required askable 11 12 23 5000 5000 1', 'above it not');
select is(tells(admin(), 'change_tier', p_tier => 'tier_2_20'), 'approval_required askable 20 12 32 5000 5000 1', 'nor for a tier');
update billing.admin_limits set approval_above = null;
select is(tells(admin(), 'request_refund', 1), 'refund_not_allowed askable 1 12 13 5000 5000 1', 'who refunds nothing asks');
select is(
    tells(admin(), 'request_refund', 1, d(), p_intent => 'pi_d'), 'refund_not_allowed askable 1 10 9 5000 5000 1', 'in money too'
);
select is(
    tells(chief(), 'adjust_credits', 1, chief()), 'approval_required askable 1 5 6 500000 500000 1',
    'a super admin asks another one for the own account'
);
select is(tells(chief(), 'request_refund', 1, chief()), 'approval_required askable 1 5 6 500000 500000 1', 'for a refund too');
select is(
    tells(chief(), 'change_tier', p_user => chief(), p_tier => 'tier_2_20'),
    'approval_required askable 20 5 25 500000 500000 1', 'and for a tier'
);
select is(
    tells(chief(), 'set_account_status', p_user => chief(), p_status => 'frozen'), 'own_account 0 5 5 500000 500000 0',
    'of the own account''s status another admin decides'
);
select is(
    tells(chief(), 'admin_release_hold', p_user => chief(), p_hold => held(chief())), 'own_account 0 5 5 500000 500000 0',
    'and of its holds'
);
select is(
    tells(admin(), 'adjust_credits', -1001), 'insufficient_credits 0 12 12 5000 5000 0',
    'what nobody''s approval would make possible cannot be asked for: it is the reason'
);
select is(tells(admin(), 'adjust_credits', -8.5), 'insufficient_credits 0 12 12 5000 5000 0', 'nor what is within the limits');
select is(
    tells(admin(), 'request_refund', 1, p_intent => 'pi_d'), 'payment_not_found 0 12 12 5000 5000 0', 'a payment of another'
);
select is(
    tells(chief(), 'request_refund', 11, d(), p_intent => 'pi_d'), 'refund_exceeds_payment 0 10 10 500000 500000 0',
    'more than was paid'
);
select is(
    tells(admin(), 'set_account_status', p_status => 'closed'), 'account_has_holds 0 12 12 5000 5000 0',
    'a reason that is no limit'
);
update before set rows = everything();
select tells(a(), 'adjust_credits', 1), tells(admin(), 'adjust_credits', 1000.5) \g /dev/null
select leaves_nothing('no refusal is logged');
update billing.user_roles set day = '2025-03-10', day_total = 4995 where user_id = admin();
select is(
    tells(admin(), 'adjust_credits', 6), 'admin_limit_exceeded askable 6 12 18 5 5 1', 'what is left of the day counts'
);
select is(tells(admin(), 'adjust_credits', 5), 'done 5 12 17 5 0 1', 'to its end');
update billing.user_roles set day_total = 0 where user_id = admin();
delete from billing.admin_limits where role = 'admin';
select is(
    tells(admin(), 'adjust_credits', 1), 'admin_limit_exceeded askable 1 12 13 0 0 1', 'a role without limits may ask'
);

-- Whoever is no admin gets no answer at all.

select rows_are(
    format('select * from billing.preview_action(%s, %s, %s)', actor, whose, action),
    $$
    select false, 'not_an_admin', false, n.amount, n.balance_before, n.balance_after, n.available_before,
        n.available_after, n.held_before, n.held_after, n.debt_before, n.debt_after, n.tier_before, n.tier_after,
        n.status_before, n.status_after, n.entry_no, n.clawed, n.spent, n.owed, n.left_today_before, n.left_today_after,
        n.lots
    from (select (null::billing.action_preview).*) n
    $$,
    'a user learns nothing: ' || action
)
from (values
    ('a()', 'a()', '''adjust_credits'', 1'), ('b()', 'a()', '''adjust_credits'', 1'),
    ('a()', 'nobody()', '''adjust_credits'', 1'), ('nobody()', 'a()', '''reverse_entry'', p_entry_no => 99'),
    ('a()', 'a()', '''admin_release_hold'', p_hold_id => nobody()'), ('a()', 'a()', '''adjust_credits'', 0'),
    ('a()', 'a()', '''make_money''')
) c (actor, whose, action);

-- What the action would raise.

select billing.reverse_entry(chief(), a(), 3, 'r') \g /dev/null
select billing.hold_credits(b(), 1) \g /dev/null
select billing.release_hold(b(), held(b())) \g /dev/null
update before set rows = everything();
select throws_ok('select billing.preview_action(' || arguments || ')', code, name, name || ': ' || arguments)
from (values
    ('null, a(), ''adjust_credits'', 1', 'UC400', 'invalid_request'),
    ('chief(), null, ''adjust_credits'', 1', 'UC400', 'invalid_request'),
    ('chief(), a(), null, 1', 'UC400', 'invalid_request'),
    ('chief(), a(), ''make_money'', 1', 'UC400', 'invalid_request'),
    ('chief(), a(), ''set_user_role''', 'UC400', 'invalid_request'),
    ('chief(), a(), ''adjust_credits''', 'UC400', 'invalid_request'),
    ('chief(), a(), ''request_refund'', 1, p_stripe_refund => true', 'UC400', 'invalid_request'),
    ('chief(), nobody(), ''adjust_credits'', 1', 'UC404', 'account_not_found'),
    ('chief(), a(), ''reverse_entry'', p_entry_no => 99', 'UC404', 'entry_not_found'),
    ('chief(), a(), ''reverse_entry''', 'UC404', 'entry_not_found'),
    ('chief(), a(), ''admin_release_hold'', p_hold_id => nobody()', 'UC404', 'hold_not_found'),
    ('chief(), a(), ''admin_release_hold'', p_hold_id => held(b())', 'UC404', 'hold_not_found'),
    ('chief(), a(), ''change_tier'', p_tier => ''silver''', 'UC404', 'unknown_tier'),
    ('chief(), a(), ''reverse_entry'', p_entry_no => 3', 'UC409', 'already_reversed'),
    ('chief(), b(), ''admin_release_hold'', p_hold_id => held(b())', 'UC409', 'hold_not_active'),
    ('chief(), a(), ''adjust_credits'', 0', 'UC422', 'amount_zero'),
    ('chief(), a(), ''admin_grant_credits'', 0', 'UC422', 'amount_not_positive'),
    ('chief(), a(), ''adjust_credits'', 0.0000000001', 'UC422', 'amount_too_precise'),
    ('chief(), a(), ''adjust_credits'', ''NaN''', 'UC422', 'amount_too_large'),
    ('chief(), a(), ''admin_grant_credits'', 1, ''2025-03-10 12:00+00''', 'UC422', 'expiry_not_ahead'),
    ('chief(), d(), ''request_refund'', 1.001, p_stripe_refund => true, p_payment_intent_id => ''pi_d''', 'UC422',
        'amount_not_whole_cents'),
    ('chief(), a(), ''reverse_entry'', p_entry_no => 1', 'UC422', 'entry_not_reversible'),
    ('chief(), a(), ''set_account_status'', p_status => ''lost''', 'UC422', 'unknown_status'),
    ('chief(), a(), ''set_account_status''', 'UC422', 'unknown_status')
) c (arguments, code, name);
select leaves_nothing('an exception');
insert into legacy_billing.customers (user_id) values (e());
select throws_ok(
    $$select billing.preview_action(chief(), e(), 'adjust_credits', 1)$$, 'UC409', 'not_migrated',
    'a user of the old system'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
