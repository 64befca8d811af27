-- An approval does once what was asked, in the name of another admin, within the limits of that one; both are in the log.
\ir ../payments.psql

create function other() returns uuid immutable language sql as $$select '00000000-0000-0000-0000-0000000000ae'::uuid$$;
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), u, 'admin') from unnest(array[admin(), other()]) u \g /dev/null
select billing.open_account(u) from unnest(array[a(), admin(), other()]) u \g /dev/null
update billing.admin_limits set approval_above = 10;
create temp table requests (name text primary key, id uuid);
grant select on requests to billing_api;
create function asked(
    p_name text, p_action text default 'adjust_credits', p_amount numeric default null, p_user uuid default a(),
    p_actor uuid default admin(), p_entry_no bigint default null, p_tier text default null, p_intent text default null,
    p_both boolean default false, p_owe boolean default false, p_expires_at timestamptz default null
)
returns text language sql as $$
    insert into requests
    select p_name, approval_id
    from billing.request_approval(
        p_actor, p_user, p_action, 'please: ' || p_name, p_amount, p_expires_at, p_entry_no, p_tier,
        p_intent is not null, p_intent, p_both, p_owe, 'key of ' || p_name
    )
    returning name
$$;
create function id(p_name text) returns uuid stable language sql as $$select id from requests where name = p_name$$;
-- Before each approval its preview, which must say the same.
create function does(p_name text, p_actor uuid default other()) returns text language plpgsql as $$
declare
    v_preview billing.action_preview;
    v_done    billing.approval_result;
    v_error   text;
begin
    begin
        v_preview := billing.preview_approval(p_actor, id(p_name));
    exception
        when others then
            v_error := sqlerrm;
    end;
    begin
        v_done := billing.approve_request(p_actor, id(p_name), 'agreed');
    exception
        when others then
            if v_error is distinct from sqlerrm then
                raise 'previewed as %, but: %', coalesce(v_error, v_preview::text), sqlerrm;
            end if;
            raise;
    end;
    return concat_ws(
        ' ', v_done.success, v_done.reason, v_done.status, 'entry', v_done.entry_no, 'amount', trim_scale(v_done.amount),
        'balance', trim_scale(v_done.balance_after), case when v_done.replayed then 'again' end,
        case
            when v_done.replayed and v_error = 'approval_not_open' then null
            when v_done.reason = 'own_request' and v_done.status <> 'open' and v_error = 'approval_not_open' then null
            when v_error is not null then 'previewed as ' || v_error
            when (v_preview.success, v_preview.reason, v_preview.success and v_preview.can_request)
                is distinct from (v_done.success, v_done.reason, false)
                or v_done.success and (v_preview.amount, v_preview.entry_no, v_preview.balance_after)
                    is distinct from (v_done.amount, v_done.entry_no, (billing.get_account(
                        (billing.get_approval(id(p_name))).user_id
                    )).balance)
                then 'previewed as ' || v_preview::text
        end
    );
end
$$;
create function decided(p_name text) returns text language sql as $$
    select concat_ws(' ', status, decided_by, action_id is not null)
    from billing.approval_requests where approval_id = id(p_name)
$$;

-- What is above approval_above, two admins do whom it would stop alone.

select asked('gift', p_amount => 500.000000001) \g /dev/null
set local tap.now = '2025-03-11 12:00+00';
set local role billing_api;
select rows_are(
    $$
    select success, reason, approval_id = id, status, action_id is not null, entry_no, amount, balance_after, refund_id,
        call_id, replayed
    from requests, billing.approve_request(other(), id, 'a good customer')
    $$,
    $$
    values (
        true, null::text, true, 'approved', true, 2::bigint, 500.000000001, 505.000000001, null::uuid, null::uuid, false
    )
    $$,
    'another admin approves, and it is done'
);
reset role;
create temp table done as
select * from billing.admin_actions_log where target_user_id = a() and action = 'adjust_credits';
select rows_are(
    $$
    select type, amount, operation, idempotency_key, description, actor, created_at from billing.credit_ledger
    where user_id = a() and entry_no = 2
    $$,
    $$
    values (
        'adjustment', 500.000000001, 'adjust_credits', id('gift')::text, 'please: gift', other(),
        '2025-03-11 12:00+00'::timestamptz
    )
    $$,
    'the entry says who approved, why it was asked for, and by its key which request it was'
);
select rows_are(
    'select admin_user_id, amount, reason, outcome, details from done',
    $$
    values (
        other(), 500.000000001, 'please: gift', 'done', jsonb_build_object(
            'entry_no', 2, 'balance_after', 505.000000001, 'idempotency_key', id('gift'), 'approval_id', id('gift'),
            'requested_by', admin()
        )
    )
    $$,
    'as does the action in the log, and who asked'
);
select rows_are(
    $$
    select admin_user_id, amount, reason, outcome, created_at, details from billing.admin_actions_log
    where action = 'approve_request'
    $$,
    $$
    select other(), null::numeric, 'a good customer', 'done', '2025-03-11 12:00+00'::timestamptz, jsonb_build_object(
        'approval_id', id('gift'), 'wanted', 'adjust_credits', 'amount', 500.000000001, 'requested_by', admin(),
        'action_id', action_id
    )
    from done
    $$,
    'the decision is in the log too, with its reason; its credits count once'
);
select rows_are(
    'select status, decided_by, decided_at, decision_reason, action_id from billing.approval_requests',
    $$select 'approved', other(), '2025-03-11 12:00+00'::timestamptz, 'a good customer', action_id from done$$,
    'the request says what became of it'
);
select bag_eq(
    'select user_id, day_total::numeric from billing.user_roles',
    'values (chief(), 0::numeric), (admin(), 0), (other(), 500.000000001)', 'it counts for the day of who approved'
);

-- Once.

select is(
    does('gift'), 't approved entry 2 amount 500.000000001 balance 505.000000001 again', 'approved again it is replayed'
);
select is((billing.approve_request(other(), id('gift'), 'r')).action_id, action_id, 'as the action that it was') from done;
select throws_ok($$select does('gift', chief())$$, 'UC409', 'approval_not_open', 'by yet another admin it is not');
select is((select count(*) from billing.credit_ledger where user_id = a()), 2::bigint, 'there is one entry');
select is(
    (select count(*) from billing.admin_actions_log where action in ('approve_request', 'adjust_credits')), 2::bigint,
    'and nothing more in the log'
);

-- Whoever may not.

select asked('own', p_amount => 20, p_user => other()) from billing.set_user_role(chief(), other(), 'admin') \g /dev/null
select is(does('own'), 'f own_request open entry amount 0 balance', 'nobody approves what the own account gets');
select is(does('own', admin()), 'f own_request open entry amount 0 balance', 'nor what they have asked for');
select is(does('own', a()), 'f not_an_admin entry amount 0 balance', 'a user approves nothing, and learns nothing');
select is(does('gift', a()), 'f not_an_admin entry amount 0 balance', 'of what was approved neither');
select is(does('gift', admin()), 'f own_request approved entry amount 0 balance', 'who asked is told that it was approved');
select is(decided('own'), 'open f', 'it is open still');
select is(does('own', chief()), 't approved entry 2 amount 20 balance 25', 'a third admin does');
select asked('by one who is none', p_amount => 20) \g /dev/null
select is(
    (select string_agg(outcome, ' ' order by outcome collate "C") from billing.admin_actions_log
        where action = 'approve_request' and outcome <> 'done'),
    'not_an_admin not_an_admin own_request own_request own_request', 'each try is logged'
);
select asked('the requester is none', p_amount => 20, p_user => admin()) \g /dev/null
select is(does('the requester is none', admin()), 'f own_request open entry amount 0 balance', 'both at once are one too many');
delete from requests where name = 'the requester is none';
delete from billing.approval_requests where reason like '%is none';

-- The limits of who approves.

select asked('dear', p_amount => 1000.000000001, p_actor => chief()) \g /dev/null
select is(does('dear'), 'f admin_limit_exceeded open entry amount 0 balance', 'nobody approves more than the own limit');
select asked('large', p_amount => 1000) \g /dev/null
update billing.user_roles set day = '2025-03-11', day_total = 4000.000000001 where user_id = other();
select is(does('large'), 'f admin_limit_exceeded open entry amount 0 balance', 'nor more than is left of the day');
select rows_are(
    $$
    select action, admin_user_id, amount, reason, details ->> 'requested_by' from billing.admin_actions_log
    where outcome = 'admin_limit_exceeded' order by amount
    $$,
    $$
    values ('adjust_credits', other(), 1000::numeric, 'please: large', admin()::text),
        ('adjust_credits', other(), 1000.000000001, 'please: dear', chief()::text)
    $$,
    'which is logged as the action that was refused'
);
select is(decided('large'), 'open f', 'and the request is open still');
update billing.user_roles set day_total = 4000 where user_id = other();
select is(does('large'), 't approved entry 3 amount 1000 balance 1505.000000001', 'what is left can be used up');
update billing.user_roles set role = 'user' where user_id = other();
select is(does('dear'), 'f not_an_admin entry amount 0 balance', 'an admin of yesterday approves nothing');
select is(does('large'), 'f not_an_admin entry amount 0 balance', 'and is told nothing of what was approved before');
update billing.user_roles set role = 'admin', day_total = 0 where user_id = other();
select is(does('dear', other()), 'f admin_limit_exceeded open entry amount 0 balance', 'chief asked for it, who is another');
update billing.admin_limits set max_credit_adjustment = 2000 where role = 'admin';
select is(does('dear'), 't approved entry 4 amount 1000.000000001 balance 2505.000000002', 'limits are those of this moment');
update billing.admin_limits set max_credit_adjustment = 1000 where role = 'admin';

-- Time.

select asked('late', p_amount => 20) \g /dev/null
select asked('in time', p_amount => 20) \g /dev/null
set local tap.now = '2025-03-18 11:59:59.999999+00';
select is(does('in time'), 't approved entry 5 amount 20 balance 2525.000000002', 'up to the last moment');
set local tap.now = '2025-03-18 12:00+00';
select throws_ok($$select does('late')$$, 'UC409', 'approval_not_open', 'then it has expired');
select is((billing.get_approval(id('late'))).status, 'expired', 'as it reads');
select is(does('in time'), 't approved entry 5 amount 20 balance 2525.000000002 again', 'what was approved is, for ever');

-- Every kind of action.

select asked('taken', p_amount => -2520) \g /dev/null
update billing.admin_limits set max_credit_adjustment = 5000, max_daily_total = 50000 where role = 'admin';
select is(does('taken'), 't approved entry 6 amount -2520 balance 5.000000002', 'credits are taken');
select asked('lasting', 'admin_grant_credits', 20, p_expires_at => '2025-05-01 00:00+00') \g /dev/null
select is(does('lasting'), 't approved entry 7 amount 20 balance 25.000000002', 'credits are granted');
select rows_are(
    'select amount, expires_at from billing.credit_grants where user_id = a() and entry_no = 7',
    $$values (20, '2025-05-01 00:00+00'::timestamptz)$$, 'until they expire'
);
select asked('back', 'reverse_entry', p_entry_no => 6) \g /dev/null
select is(does('back'), 't approved entry 8 amount 2520 balance 2545.000000002', 'an entry is reversed');
select asked('upgrade', 'change_tier', p_tier => 'tier_6_50') \g /dev/null
select is(does('upgrade'), 't approved entry 9 amount 50 balance 2595.000000002', 'a tier is changed');
select is((billing.get_account(a())).tier, 'tier_6_50', 'to what was asked for');
select asked('downgrade', 'change_tier', p_tier => 'free') \g /dev/null
select is(does('downgrade'), 't approved entry amount 0 balance 2595.000000002', 'and back, without an entry');
select is(does('downgrade'), 't approved entry amount 0 balance 2595.000000002 again', 'once');
select is(
    (select string_agg(action, ' ' order by action collate "C") from billing.admin_actions_log
        where details ->> 'requested_by' = admin()::text and details ->> 'idempotency_key' = details ->> 'approval_id'
            and created_at = '2025-03-18 12:00+00' and action <> 'adjust_credits' and outcome = 'done'),
    'admin_grant_credits change_tier change_tier reverse_entry', 'the log has the request of each'
);
update billing.admin_limits set can_refund = true where role = 'admin';
select asked('in credits', 'request_refund', 30) \g /dev/null
select is(does('in credits'), 't approved entry 10 amount 30 balance 2625.000000002', 'credits are refunded');
select buys(b(), 100, 'pi_b') \g /dev/null
select asked('in money', 'request_refund', 40, b(), p_intent => 'pi_b') \g /dev/null
select rows_are(
    $$
    select success, status, entry_no, amount, balance_after, refund_id is not null, call_id is not null, replayed
    from billing.approve_request(other(), id('in money'), 'agreed')
    $$,
    $$values (true, 'approved', null::bigint, 40::numeric, 60::numeric, true, true, false)$$,
    'money is refunded, by a call that waits'
);
select rows_are(
    $$
    select r.mode, r.amount, r.requested_by, r.reason, r.idempotency_key, c.call_id = d.call_id, r.refund_id = d.refund_id,
        d.replayed
    from billing.credit_refunds r join billing.stripe_calls c on c.subject_id = r.refund_id::text,
        billing.approve_request(other(), id('in money'), 'agreed') d
    where r.mode = 'money'
    $$,
    $$values ('money', 40::numeric, other(), 'please: in money', id('in money')::text, true, true, true)$$,
    'the same one, however often it is approved'
);
select rows_are(
    $$
    select admin_user_id, amount, reason, outcome, details ->> 'mode', details ->> 'approval_id',
        details ->> 'requested_by', details ->> 'idempotency_key'
    from billing.admin_actions_log where action = 'request_refund' order by amount
    $$,
    $$
    select other(), amount, 'please: ' || name, 'done', mode, id(name), admin(), id(name)
    from (values (30::numeric, 'in credits', 'credits'), (40, 'in money', 'money')) r (amount, name, mode)
    $$,
    'the log says who asked for them'
);
update billing.admin_limits set can_refund = false where role = 'admin';
select asked('no refunds', 'request_refund', 1) \g /dev/null
select is(does('no refunds'), 'f refund_not_allowed open entry amount 0 balance', 'who does not refund approves none');
select asked('no money', 'request_refund', 1, b(), p_intent => 'pi_b') \g /dev/null
select is(does('no money'), 'f refund_not_allowed open entry amount 0 balance', 'in money neither');
select is(does('no refunds', chief()), 't approved entry 11 amount 1 balance 2626.000000002', 'who does, does');

-- What has changed since it was asked for.

select asked('more than there is', p_amount => -2626) \g /dev/null
select billing.deduct_credits(a(), 1) \g /dev/null
select is(does('more than there is'), 'f insufficient_credits open entry amount 0 balance', 'what is spent is not taken');
select asked('reversed meanwhile', 'reverse_entry', p_entry_no => 12) \g /dev/null
select asked('reversed twice', 'reverse_entry', p_entry_no => 12) \g /dev/null
select is(does('reversed meanwhile'), 't approved entry 13 amount 1 balance 2626.000000002', 'an entry is given back');
select throws_ok($$select does('reversed twice')$$, 'UC409', 'already_reversed', 'once, however often it is asked for');
select is(decided('reversed twice'), 'open f', 'the other request is open, to be declined');
select asked('refunded meanwhile', 'request_refund', 59, b(), p_intent => 'pi_b') \g /dev/null
select billing.request_refund(chief(), b(), 2, 'r', true, 'pi_b') \g /dev/null
select is(
    does('refunded meanwhile', chief()), 'f refund_exceeds_payment open entry amount 0 balance',
    'no more goes back than was paid'
);
select asked('disputed meanwhile', 'request_refund', 1, b(), p_intent => 'pi_b') \g /dev/null
select billing.record_stripe_object(stripe_dispute('dp_1', 'pi_b', 100)) \g /dev/null
select is(
    does('disputed meanwhile', chief()), 'f payment_disputed open entry amount 0 balance', 'nor what the bank decides'
);
select asked('expired meanwhile', 'admin_grant_credits', 1, p_expires_at => '2025-03-18 13:00+00') \g /dev/null
set local tap.now = '2025-03-18 13:00+00';
select throws_ok($$select does('expired meanwhile')$$, 'UC422', 'expiry_not_ahead', 'credits that would be gone');
select asked('dearer meanwhile', 'change_tier', p_tier => 'tier_12_100') \g /dev/null
update billing.billing_tier_amounts set monthly_credits = 1000 where tier = 'tier_12_100';
select throws_ok($$select does('dearer meanwhile')$$, 'UC409', 'request_changed', 'a tier that would grant more');
update billing.billing_tier_amounts set monthly_credits = 105 where tier = 'tier_12_100';
select billing.change_tier(chief(), a(), 'tier_2_20', 'r') \g /dev/null
select throws_ok(
    $$select does('dearer meanwhile')$$, 'UC409', 'request_changed', 'a change from a tier that the account has left'
);
select billing.change_tier(chief(), a(), 'free', 'r') \g /dev/null
select is(
    does('dearer meanwhile'), 't approved entry 14 amount 50 balance 2676.000000002', 'when it is as before it is approved'
);
set local tap.now = '2025-04-11 12:00+00';
update billing.billing_settings set approval_lifetime = '60 days';
select billing.change_tier(chief(), a(), 'free', 'r') \g /dev/null
set local tap.now = '2025-04-30 12:00+00';
select asked('of last month', 'change_tier', p_tier => 'tier_12_100') \g /dev/null
set local tap.now = '2025-05-01 00:00+00';
select throws_ok($$select does('of last month')$$, 'UC409', 'request_changed', 'a month that has not had its grant yet');
select asked('closed meanwhile', p_amount => 1) \g /dev/null
select billing.set_account_status(chief(), a(), 'closed', 'r') \g /dev/null
select is(does('closed meanwhile'), 'f account_closed open entry amount 0 balance', 'a closed account gets nothing');
select billing.set_account_status(chief(), a(), 'active', 'r') \g /dev/null

-- Somebody has taken the key of the action.

select asked('squatted', p_amount => 1) \g /dev/null
select billing.adjust_credits(admin(), a(), 1, 'r', id('squatted')::text) \g /dev/null
select throws_ok($$select does('squatted')$$, 'UC409', 'idempotency_key_reused', 'does not make it another''s action');
select is(decided('squatted'), 'open f', 'nor an approved one');

-- Requests that are none.

select throws_ok('select billing.approve_request(' || arguments || ')', code, name, name || ': ' || left(arguments, 60))
from (values
    ('null, id(''squatted''), ''r''', 'UC400', 'invalid_request'),
    ('chief(), id(''squatted''), repeat(''r'', 2001)', 'UC400', 'invalid_request'),
    ('chief(), nobody(), ''r''', 'UC404', 'approval_not_found'),
    ('chief(), null, ''r''', 'UC404', 'approval_not_found'),
    ('chief(), id(''squatted''), null', 'UC422', 'reason_required'),
    ('chief(), id(''squatted''), '' ''', 'UC422', 'reason_required')
) c (arguments, code, name);
select billing.decline_request(chief(), id('squatted'), 'r') \g /dev/null
select throws_ok($$select does('squatted', chief())$$, 'UC409', 'approval_not_open', 'what was declined is not approved');
select asked('withdrawn', p_amount => 1) \g /dev/null
select billing.withdraw_request(admin(), id('withdrawn')) \g /dev/null
select throws_ok($$select does('withdrawn')$$, 'UC409', 'approval_not_open', 'nor what was withdrawn');
select asked('of the past', p_amount => 1) \g /dev/null
select billing.set_user_role(chief(), admin(), 'user') \g /dev/null
select throws_ok($$select does('of the past')$$, 'UC409', 'request_changed', 'nor what somebody asked who is no admin any more');
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null

-- An action that was done and undone under the request's id is not the one that was asked for.
select asked('emptied', p_amount => -1) \g /dev/null
select billing.adjust_credits(other(), a(), -1, 'before', id('emptied')::text) \g /dev/null
select throws_ok($$select does('emptied')$$, 'UC409', 'idempotency_key_reused', 'nor is it approved by something done before');
select is_empty(
    $$
    select approval_id from billing.approval_requests r
    where (status = 'approved') <> (
        select count(*) = 1 from billing.admin_actions_log l
        where l.target_user_id = r.user_id and l.details ->> 'approval_id' = r.approval_id::text
            and l.action = r.action and l.outcome = 'done' and l.action_id = r.action_id
    )
    $$,
    'every approved request has one action in the log, and no other has any'
);
select is_empty('select * from billing.verify_ledger()', 'all of it verifies');

select * from finish();
rollback;
