-- An admin asks another one for what is above the own limits, or for the own account: nothing moves, and it is logged.
\ir ../payments.psql

select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.open_account(u) from unnest(array[a(), admin()]) u \g /dev/null
select billing.deduct_credits(a(), 2) \g /dev/null
select buys(b(), 10, 'pi_1') \g /dev/null
update billing.billing_settings set approval_lifetime = '36 hours';
create function request(p_key text default 'key') returns billing.approval_requests language sql as
$$select r from billing.approval_requests r where idempotency_key = p_key$$;
create temp table before as
select a.*, (select count(*) from billing.credit_ledger) as entries from billing.credit_accounts a where user_id = a();

-- A request.

set local role billing_api;
select rows_are(
    $$
    select success, reason, approval_id is not null, status, action_id, entry_no, amount, balance_after, refund_id, call_id,
        replayed
    from billing.request_approval(
        admin(), a(), 'admin_grant_credits', 'a whole year', 1200.5, '2025-06-01 12:00+02', p_idempotency_key => 'key'
    )
    $$,
    $$
    values (
        true, null::text, true, 'open', null::uuid, null::bigint, 0::numeric, null::numeric, null::uuid, null::uuid, false
    )
    $$,
    'what is above the limits is asked for'
);
reset role;
select rows_are(
    $$
    select user_id, action, amount, expires_at, entry_no, tier, from_tier, stripe_refund, payment_intent_id, grant_credits,
        owe_spent, reason, idempotency_key, requested_by, requested_at, open_until, status, decided_by, decided_at,
        decision_reason, action_id
    from billing.approval_requests
    $$,
    $$
    values (
        a(), 'admin_grant_credits', 1200.5, '2025-06-01 10:00+00'::timestamptz, null::bigint, null::text, null::text,
        false, null::text, false, false, 'a whole year', 'key', admin(), '2025-03-10 12:00+00'::timestamptz,
        '2025-03-12 00:00+00'::timestamptz, 'open', null::uuid, null::timestamptz, null::text, null::uuid
    )
    $$,
    'it is all there, and open for as long as the settings say'
);
select rows_are(
    $$
    select admin_user_id, action, amount, reason, outcome, created_at, details from billing.admin_actions_log
    where target_user_id = a()
    $$,
    $$
    values (
        admin(), 'request_approval', null::numeric, 'a whole year', 'done', '2025-03-10 12:00+00'::timestamptz,
        jsonb_build_object(
            'approval_id', (request()).approval_id, 'wanted', 'admin_grant_credits', 'amount', 1200.5,
            'expires_at', '2025-06-01 10:00+00'::timestamptz, 'idempotency_key', 'key'
        )
    )
    $$,
    'the log says that it was asked for, and counts no credits: none have moved'
);
select rows_are(
    $$select a.*, (select count(*) from billing.credit_ledger) from billing.credit_accounts a where user_id = a()$$,
    'select * from before', 'the account and the ledger are as they were'
);
select is((select day_total from billing.user_roles where user_id = admin()), 0::numeric, 'nothing counts for the day');

-- Keys.

select rows_are(
    $$
    select success, approval_id = (request()).approval_id, status, replayed from billing.request_approval(
        admin(), a(), 'admin_grant_credits', 'another reason', 1200.50, '2025-06-01 10:00+00', p_idempotency_key => 'key'
    )
    $$,
    $$values (true, true, 'open', true)$$, 'the same request is replayed'
);
select is((select count(*) from billing.approval_requests), 1::bigint, 'and is no second one');
select is(
    (select count(*) from billing.admin_actions_log where action = 'request_approval'), 1::bigint, 'nor is it logged again'
);
select throws_ok(
    format('select billing.request_approval(admin(), a(), %s, p_idempotency_key => ''key'')', arguments), 'UC409',
    'idempotency_key_reused', difference
)
from (values
    ('''admin_grant_credits'', ''r'', 1200.500000001, ''2025-06-01 10:00+00''', 'another amount is another request'),
    ('''admin_grant_credits'', ''r'', 1200.5, ''2025-06-01 10:00:01+00''', 'another expiry too'),
    ('''admin_grant_credits'', ''r'', 1200.5', 'or none'),
    ('''admin_grant_credits'', ''r'', null, ''2025-06-01 10:00+00''', 'or no amount'),
    ('''adjust_credits'', ''r'', 1200.5', 'another action too'),
    ('''change_tier'', ''r'', p_tier => ''tier_2_20''', 'of another kind'),
    ('''reverse_entry'', ''r'', p_entry_no => 2', 'and another')
) c (arguments, difference);
select is(
    (
        billing.request_approval(chief(), a(), 'admin_grant_credits', 'r', 1200.5, '2025-06-01 10:00+00',
            p_idempotency_key => 'key')
    ).replayed, false, 'another admin''s key is another key'
);
select is(
    (billing.request_approval(admin(), b(), 'adjust_credits', 'r', 1, p_idempotency_key => 'key')).replayed, false,
    'as is another user''s'
);
delete from billing.approval_requests where requested_by = chief() or user_id = b();

-- Every kind of action that moves credits; what another admin will see.

create function asks(p_action text, p_key text, p_user uuid default a(), p_actor uuid default admin(),
    p_amount numeric default null, p_entry_no bigint default null, p_tier text default null,
    p_intent text default null, p_both boolean default false, p_owe boolean default false)
returns text language sql as $$
    select concat_ws(' ', success, reason, status, replayed)
    from billing.request_approval(
        p_actor, p_user, p_action, 'a try', p_amount, null, p_entry_no, p_tier, p_intent is not null, p_intent, p_both,
        p_owe, p_key
    )
$$;
select is(asks('adjust_credits', 'adjust', p_amount => -3), 't open f', 'credits can be taken, within the limits too');
select is(asks('adjust_credits', 'adjust', p_amount => -3), 't open t', 'once');
select is(asks('reverse_entry', 'reverse', p_entry_no => 2), 't open f', 'an entry can be reversed');
select is(asks('reverse_entry', 'reverse', p_entry_no => 2), 't open t', 'once, though nobody named its amount');
select is(asks('change_tier', 'tier', p_tier => 'tier_2_20'), 't open f', 'a tier can be changed');
select is(asks('change_tier', 'tier', p_tier => 'tier_2_20'), 't open t', 'once');
select is(asks('change_tier', 'same', p_tier => 'free'), 't open f', 'to one that grants nothing');
select is(asks('request_refund', 'credits', p_amount => 5), 't open f', 'who may not refund asks for a refund');
select is(asks('request_refund', 'money', b(), p_amount => 4.5, p_intent => 'pi_1', p_owe => true), 't open f', 'in money');
select is(
    asks('request_refund', 'money', b(), p_amount => 4.5, p_intent => 'pi_1', p_owe => true), 't open t', 'once'
);
select is(asks('request_refund', 'both', b(), p_amount => 1, p_intent => 'pi_1', p_both => true), 't open f', 'or both');
select is(asks('adjust_credits', 'own', admin(), p_amount => 1), 't open f', 'on the own account anything is asked for');
select rows_are(
    $$
    select idempotency_key, amount, entry_no, from_tier, tier, stripe_refund, payment_intent_id, grant_credits, owe_spent
    from billing.approval_requests where reason = 'a try' order by idempotency_key collate "C"
    $$,
    $$
    values
        ('adjust', -3::numeric, null::bigint, null::text, null::text, false, null::text, false, false),
        ('both', 1, null, null, null, true, 'pi_1', true, false),
        ('credits', 5, null, null, null, false, null, false, false),
        ('money', 4.5, null, null, null, true, 'pi_1', false, true),
        ('own', 1, null, null, null, false, null, false, false),
        ('reverse', 2, 2, null, null, false, null, false, false),
        ('same', null, null, 'free', 'free', false, null, false, false),
        ('tier', 20, null, 'free', 'tier_2_20', false, null, false, false)
    $$,
    'each is as it was asked for; of a reversal and a tier, with what it comes to'
);
select is(
    (select count(*) from billing.credit_refunds) + (select count(*) from billing.stripe_calls where kind = 'refund'),
    0::bigint, 'nothing is refunded'
);
select is_empty(
    'select user_id from billing.user_roles where day_total <> 0', 'and no admin''s day has begun'
);
select throws_ok(
    $$select asks('request_refund', 'money', b(), p_amount => 4.5, p_intent => 'pi_1')$$, 'UC409',
    'idempotency_key_reused', 'what is owed is a part of the request'
);
select throws_ok(
    $$select asks('request_refund', 'money', b(), p_amount => 4.5, p_intent => 'pi_1', p_both => true, p_owe => true)$$,
    'UC409', 'idempotency_key_reused', 'and whether credits are granted too'
);
select throws_ok(
    $$select asks('reverse_entry', 'reverse', p_entry_no => 3)$$, 'UC409', 'idempotency_key_reused', 'and the entry'
);
select throws_ok(
    $$select asks('change_tier', 'tier', p_tier => 'tier_6_50')$$, 'UC409', 'idempotency_key_reused', 'and the tier'
);
select billing.decline_request(chief(), (request('adjust')).approval_id, 'r') \g /dev/null
select is(asks('adjust_credits', 'adjust', p_amount => -3), 't declined t', 'a replay tells what has become of it');
set local tap.now = '2025-03-12 00:00+00';
select is(asks('reverse_entry', 'reverse', p_entry_no => 2), 't expired t', 'or that its time is over');
set local tap.now = '2025-03-10 12:00+00';

-- Refusals: an answer, a row in the log, and no request.

create temp table there as select count(*) as requests from billing.approval_requests;
select is(asks('adjust_credits', 'no', p_actor => a(), p_amount => 1), 'f not_an_admin f', 'who is no admin asks for nothing');
select is(
    asks('reverse_entry', 'no', p_actor => a(), p_entry_no => 99), 'f not_an_admin f', 'and does not learn which entries there are'
);
select is(
    asks('adjust_credits', 'no', p_amount => -3.000000001), 'f insufficient_credits f',
    'what would be refused for another reason is not asked for'
);
select is(asks('request_refund', 'no', p_amount => 1, p_intent => 'pi_1'), 'f payment_not_found f', 'a payment of somebody else');
select is(
    asks('request_refund', 'no', b(), p_amount => 10.01, p_intent => 'pi_1'), 'f refund_exceeds_payment f',
    'more than was paid'
);
select billing.record_stripe_object(stripe_dispute('dp_1', 'pi_1', 100)) \g /dev/null
select is(
    asks('request_refund', 'no', b(), p_amount => 1, p_intent => 'pi_1'), 'f payment_disputed f', 'what the bank decides'
);
select billing.set_account_status(chief(), a(), 'closed', 'r') \g /dev/null
select is(asks('adjust_credits', 'no', p_amount => 1), 'f account_closed f', 'a closed account');
select is((select count(*) from billing.approval_requests), requests, 'no refusal leaves a request') from there;
select rows_are(
    $$
    select outcome, admin_user_id, amount, details -> 'approval_id', details ->> 'wanted', details -> 'amount', details ->> 'mode'
    from billing.admin_actions_log
    where action = 'request_approval' and outcome <> 'done' order by outcome collate "C", details ->> 'amount' nulls last
    $$,
    $$
    values
        ('account_closed', admin(), null::numeric, null::jsonb, 'adjust_credits', '1'::jsonb, null),
        ('insufficient_credits', admin(), null, null, 'adjust_credits', '-3.000000001', null),
        ('not_an_admin', a(), null, null, 'adjust_credits', '1', null),
        ('not_an_admin', a(), null, null, 'reverse_entry', null, null),
        ('payment_disputed', admin(), null, null, 'request_refund', '1', 'money'),
        ('payment_not_found', admin(), null, null, 'request_refund', '1', 'money'),
        ('refund_exceeds_payment', admin(), null, null, 'request_refund', '10.01', 'money')
    $$,
    'each is in the log, says whether money would have gone back, and names no request'
);
select billing.set_account_status(chief(), a(), 'active', 'r') \g /dev/null
select is(asks('adjust_credits', 'no', p_amount => 1), 't open f', 'none of them has bound its key');
update billing.user_roles set role = 'user' where user_id = admin();
select is(asks('adjust_credits', 'late', p_amount => 1), 'f not_an_admin f', 'an admin of yesterday asks for nothing');
update billing.user_roles set role = 'admin' where user_id = admin();

-- Requests that are none: arguments that the action does not take, and what the action itself would raise.

select throws_ok(
    'select billing.request_approval(' || arguments || ')', code, name, name || ': ' || left(arguments, 80)
)
from (values
    ('null, a(), ''adjust_credits'', ''r'', 1', 'UC400', 'invalid_request'),
    ('admin(), null, ''adjust_credits'', ''r'', 1', 'UC400', 'invalid_request'),
    ('admin(), a(), null, ''r'', 1', 'UC400', 'invalid_request'),
    ('admin(), a(), ''make_money'', ''r'', 1', 'UC400', 'invalid_request'),
    ('admin(), a(), ''set_account_status'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''admin_release_hold'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''set_user_role'', ''r''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', null', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1, ''2026-01-01 00:00+00''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1, p_entry_no => 2', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1, p_tier => ''free''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1, p_payment_intent_id => ''pi_1''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1, p_stripe_refund => true', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1, p_grant_credits => true', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1, p_owe_spent => true', 'UC400', 'invalid_request'),
    ('admin(), a(), ''reverse_entry'', ''r'', 1, p_entry_no => 2', 'UC400', 'invalid_request'),
    ('admin(), a(), ''change_tier'', ''r'', 1, p_tier => ''tier_2_20''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''request_refund'', ''r'', 1, p_payment_intent_id => ''pi_1''', 'UC400', 'invalid_request'),
    ('admin(), a(), ''request_refund'', ''r'', 1, p_grant_credits => true', 'UC400', 'invalid_request'),
    ('admin(), a(), ''request_refund'', ''r'', 1, p_owe_spent => true', 'UC400', 'invalid_request'),
    ('admin(), a(), ''request_refund'', ''r'', 1, p_stripe_refund => true', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', repeat(''r'', 2001), 1', 'UC400', 'invalid_request'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1, p_idempotency_key => ''''', 'UC400', 'invalid_request'),
    ('admin(), nobody(), ''adjust_credits'', ''r'', 1', 'UC404', 'account_not_found'),
    ('admin(), a(), ''reverse_entry'', ''r'', p_entry_no => 99', 'UC404', 'entry_not_found'),
    ('admin(), a(), ''change_tier'', ''r'', p_tier => ''silver''', 'UC404', 'unknown_tier'),
    ('admin(), a(), ''change_tier'', ''r''', 'UC404', 'unknown_tier'),
    ('admin(), a(), ''reverse_entry'', ''r'', p_entry_no => 1', 'UC422', 'entry_not_reversible'),
    ('admin(), a(), ''adjust_credits'', null, 1', 'UC422', 'reason_required'),
    ('admin(), a(), ''adjust_credits'', '' '', 1', 'UC422', 'reason_required'),
    ('admin(), a(), ''adjust_credits'', ''r'', 0', 'UC422', 'amount_zero'),
    ('admin(), a(), ''adjust_credits'', ''r'', ''NaN''', 'UC422', 'amount_too_large'),
    ('admin(), a(), ''adjust_credits'', ''r'', ''-infinity''', 'UC422', 'amount_too_large'),
    ('admin(), a(), ''adjust_credits'', ''r'', 1000000000000.1', 'UC422', 'amount_too_large'),
    ('admin(), a(), ''adjust_credits'', ''r'', 0.0000000001', 'UC422', 'amount_too_precise'),
    ('admin(), a(), ''admin_grant_credits'', ''r'', -1', 'UC422', 'amount_not_positive'),
    ('admin(), a(), ''admin_grant_credits'', ''r'', 1, ''2025-03-10 12:00+00''', 'UC422', 'expiry_not_ahead'),
    ('admin(), a(), ''admin_grant_credits'', ''r'', 1, ''infinity''', 'UC422', 'expiry_not_ahead'),
    ('admin(), b(), ''request_refund'', ''r'', 1.001, p_stripe_refund => true, p_payment_intent_id => ''pi_1''', 'UC422',
        'amount_not_whole_cents')
) c (arguments, code, name);
select billing.reverse_entry(chief(), a(), 2, 'r') \g /dev/null
select throws_ok(
    $$select billing.request_approval(admin(), a(), 'reverse_entry', 'r', p_entry_no => 2)$$, 'UC409', 'already_reversed',
    'what was done already is not asked for'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
