-- Each alert is empty when all is well, however much goes on, and has a row when it should, for billing_monitor.
\ir payments.psql
-- Alerts go by now().
select set_config('tap.now', now()::text, true) \g /dev/null

create function at(p_ago interval) returns text language sql as
$$select set_config('tap.now', (now() - p_ago)::text, true)$$;
-- What an alert tells billing_monitor, whose rights and row policies apply.
create function alert(p_view text, p_columns text default '*') returns text language plpgsql as $$
declare
    v_rows text;
begin
    set local role billing_monitor;
    execute format('select string_agg(r::text, '', '' order by r) from (select %s from billing.alert_%s) r', p_columns, p_view)
    into v_rows;
    reset role;
    return v_rows;
end
$$;
create function all_alerts() returns text language plpgsql as $$
declare
    v_view text;
    v_rows text;
begin
    for v_view in
        select substr(relname, 7) from pg_class
        where relnamespace = 'billing'::regnamespace and relkind = 'v' and relname like 'alert\_%'
    loop
        v_rows := concat_ws('; ', v_rows, v_view || ': ' || alert(v_view));
    end loop;
    return v_rows;
end
$$;
select is(
    (
        select count(*) from pg_class
        where relnamespace = 'billing'::regnamespace and relkind = 'v' and relname like 'alert\_%'
    ),
    9::bigint, 'there are nine alerts'
);
select is(all_alerts(), '', 'none has a row in a database that is new');

-- Life.

select at('50 minutes') \g /dev/null
select billing.bootstrap_super_admin(chief()) \g /dev/null
select billing.set_user_role(chief(), admin(), 'admin') \g /dev/null
select billing.set_job('deliver_events', true) \g /dev/null
update billing.jobs set since = now() - interval '1 hour';
select billing.open_account(u) from unnest(array[a(), b(), c()]) u \g /dev/null
select buys(d(), 10, 'pi_d') \g /dev/null
select buys(e(), 10, 'pi_e') \g /dev/null
select billing.deduct_credits(u, 0.5) from unnest(array[a(), b(), c(), d()]) u, generate_series(1, 3) \g /dev/null
select billing.hold_credits(b(), 1) \g /dev/null
select billing.deduct_credits(a(), 1000) from generate_series(1, 9) \g /dev/null
select billing.adjust_credits(admin(), a(), 0.01, 'r') from generate_series(1, 40) \g /dev/null
select billing.adjust_credits(admin(), a(), 5000, 'r') from generate_series(1, 4) \g /dev/null
select billing.set_account_status(admin(), c(), 'frozen', 'r') \g /dev/null
select billing.request_refund(chief(), d(), 1, 'r') \g /dev/null
select refund_id as refund from billing.request_refund(chief(), d(), 5, 'r', true, 'pi_d') \gset
select billing.record_stripe_object(stripe_refund('re_d', 'pi_d', 500, :'refund')) \g /dev/null
select billing.record_stripe_event(stripe_event('evt_' || n, 'invoice.paid', '{}')) from generate_series(1, 2) n \g /dev/null
select billing.apply_stripe_event('evt_1') \g /dev/null
select billing.finish_event(user_id, event_id) from billing.billing_events order by user_id, event_no \g /dev/null
select billing.record_job_run(name, billing_private.clock(), 1) from billing.jobs where enabled \g /dev/null
select at('0') \g /dev/null
select billing.fail_stripe_event('evt_2', 'e') from generate_series(1, 2) \g /dev/null
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select billing.request_refund(chief(), e(), 5, 'r', true, 'pi_e') \g /dev/null
select billing.checkpoint_ledger() \g /dev/null
-- Some jobs are due every fifteen minutes.
select billing.record_job_run(name, now() - interval '14 minutes', 1) from billing.jobs where enabled \g /dev/null
select is(
    all_alerts(), '',
    'none has one when all is well: refusals, refunds, retries, freezes and adjustments are life'
);
select rows_are(
    $$select count(*) > 0 from billing.billing_events where status = 'pending'
    union all select count(*) > 0 from billing.credit_refunds where status = 'requested'
    union all select count(*) > 0 from billing.credit_ledger where type = 'usage' and amount = 0$$,
    'values (true), (true), (true)', 'and there was some of it'
);

-- The guide's own.

set local role billing_monitor;
set local search_path to "$user", public, billing, pgtap;
select is_empty(
    $$
-- Alert on negative balances
SELECT * FROM credit_accounts WHERE balance < 0;
    $$,
    'the guide''s alert on negative balances, as it is written'
);
select results_eq(
    $$
-- Alert on failed deductions in last hour
SELECT COUNT(*) FROM credit_ledger
WHERE type = 'usage'
AND created_at > NOW() - INTERVAL '1 hour'
AND amount = 0;
    $$,
    'values (9::bigint)', 'the guide''s alert on failed deductions, as it is written, counts them'
);
reset role;
reset search_path;

-- Balances below zero: a domain forbids them.

alter domain billing.credits drop constraint credits_not_negative;
update billing.credit_accounts set balance = -0.000000001, held = -1 where user_id = c();
select is(
    alert('negative_balances', 'user_id, balance'), format('(%s,-0.000000001)', c()), 'an account below zero'
);
update billing.credit_accounts set balance = 3.5, held = 0 where user_id = c();
select is(alert('negative_balances'), null, 'when it is mended it is gone');

-- Refused deductions.

select billing.deduct_credits(a(), 1000) \g /dev/null
select billing.deduct_credits(c(), 1) from generate_series(1, 11) \g /dev/null
select is(
    alert('failed_deductions', 'reason, refused, user_id'),
    format('(account_frozen,11,%s), (insufficient_credits,10,%s)', c(), a()), 'ten refusals of a user in an hour'
);
select is(
    alert('failed_deductions', 'first_at = now() - interval ''50 minutes'', last_at = now(), user_id'),
    format('(f,t,%s), (t,t,%s)', c(), a()), 'since when'
);
select at('61 minutes') \g /dev/null
select billing.open_account(nobody()) \g /dev/null
select billing.deduct_credits(nobody(), 100) from generate_series(1, 20) \g /dev/null
select billing.finish_event(user_id, event_id) from billing.list_events(nobody()) \g /dev/null
select at('0') \g /dev/null
select unalike(alert('failed_deductions'), '%' || nobody() || '%', 'what is longer ago is over');

-- Webhook events.

select is(alert('webhook_errors'), null, 'one that has failed twice is tried again');
select billing.fail_stripe_event('evt_2', 'third') \g /dev/null
select is(
    alert('webhook_errors', 'event_id, status, attempts, error'), '(evt_2,pending,3,third)', 'three times is an alert'
);
select billing.fail_stripe_event('evt_2', 'e') from generate_series(1, 9) \g /dev/null
select is(
    alert('webhook_errors', 'event_id, status, attempts'), '(evt_2,failed,12)',
    'and so is one that was given up'
);
select billing.apply_stripe_event('evt_2') \g /dev/null
select is(alert('webhook_errors'), null, 'until it is applied');
select at('15 minutes 30 seconds') \g /dev/null
select billing.record_stripe_event(stripe_event('evt_3', 'invoice.paid', '{}')) \g /dev/null
select is(alert('webhook_errors'), null, 'one that has been due for fifteen minutes');
update billing.stripe_events set next_attempt_at = next_attempt_at - interval '1 microsecond' where event_id = 'evt_3';
select is(alert('webhook_errors', 'event_id, attempts'), '(evt_3,0)', 'waits for nobody after that');
select billing.apply_stripe_event('evt_3') \g /dev/null
select at('0') \g /dev/null

-- Admins.

select is(alert('admin_activity'), null, 'forty-five actions and four refusals are work');
select billing.adjust_credits(admin(), a(), 5000, 'r') \g /dev/null
select is(
    alert('admin_activity', 'admin_user_id, actions, refused, amount'), format('(%s,46,5,0.40)', admin()),
    'five refusals are an alert, with what was moved'
);
select billing.adjust_credits(chief(), a(), -0.01, 'r') from generate_series(1, 45) \g /dev/null
select unalike(alert('admin_activity'), '%' || chief() || '%', 'forty-nine actions are not');
select billing.adjust_credits(chief(), a(), -0.01, 'r') \g /dev/null
select alike(
    alert('admin_activity', 'admin_user_id, actions, refused'), format('%%(%s,50,0)%%', chief()), 'fifty are'
);

-- The ledger and the lots.

alter table billing.credit_ledger disable trigger all;
update billing.credit_ledger set description = 'x' where user_id = b() and entry_no = 2;
update billing.credit_accounts set held = 0 where user_id = b();
select is(alert('ledger'), null, 'what was changed is not known');
select billing.checkpoint_ledger() \g /dev/null
select is(
    alert('ledger', 'problem, user_id, entry_no'), format('(entry_changed,%s,2)', b()),
    'until the verification has found it'
);
select is(
    alert('lot_sums', 'problem, user_id, entry_no'), format('(held_off,%s,)', b()),
    'what does not add up by itself'
);
select is_empty(
    $$
    select m[1]
    from pg_proc
    cross join lateral regexp_matches(prosrc, 'user_id, (?:\w+\.)?\w+, ''([a-z_]+)''', 'g') m
    where pronamespace = 'billing_private'::regnamespace and proname = 'sum_findings'
        and strpos(pg_get_viewdef('billing.alert_lot_sums'::regclass), quote_literal(m[1])) = 0
    $$,
    'every sum that can be off is one of these'
);
select is(
    (
        select count(*) from pg_proc
        cross join lateral regexp_matches(prosrc, 'user_id, (?:\w+\.)?\w+, ''([a-z_]+)''', 'g') m
        where pronamespace = 'billing_private'::regnamespace and proname = 'sum_findings'
    ),
    5::bigint, 'and there are five of them'
);
update billing.credit_accounts set held = 1 where user_id = b();
update billing.credit_ledger set description = null where user_id = b() and entry_no = 2;
select billing.checkpoint_ledger() \g /dev/null
select is(alert('ledger') || alert('lot_sums'), null, 'when it is mended it is gone');

-- Jobs.

select is(alert('jobs'), null, 'all have run in time');
select billing.record_job_run('clean_up', now() - interval '1 second', 0, 0, 'disk full') \g /dev/null
select is(alert('jobs', 'job, problem, error'), '(clean_up,failed,"disk full")', 'one whose last run failed');
select billing.record_job_run('clean_up', now(), 0) \g /dev/null
select is(alert('jobs'), null, 'until it succeeds');
select at('2 seconds') \g /dev/null
select billing.begin_job('expire_credits') \g /dev/null
select at('1 second') \g /dev/null
select is(alert('jobs'), null, 'one that is running');
select billing.begin_job('expire_credits') \g /dev/null
select is(alert('jobs', 'job, problem'), '(expire_credits,interrupted)', 'one whose run was interrupted');
select at('0') \g /dev/null
select billing.end_job(run_id) from billing.job_runs where outcome = 'running' \g /dev/null
update billing.job_runs set started_at = started_at - interval '1 minute 1 second' where job = 'stripe_calls';
update billing.jobs set since = now() - interval '1 day' where name = 'stripe_calls';
select is(
    alert('jobs', 'job, problem, succeeded_at = now() - interval ''15 minutes 1 second'''), '(stripe_calls,late,t)',
    'one that has not run for too long'
);
select billing.set_job('stripe_calls', p_late_after => '20 minutes') \g /dev/null
select is(alert('jobs'), null, 'as its row says');
select billing.record_job_run('stripe_calls', now(), 0, 1) \g /dev/null
select is(alert('jobs', 'job, problem'), '(stripe_calls,failed)', 'one that failed');
select billing.set_job('stripe_calls', false) \g /dev/null
select is(alert('jobs'), null, 'unless it is switched off');
update billing.job_runs set started_at = now() - interval '1 hour' where job = 'stripe_calls';
select billing.set_job('stripe_calls', true) \g /dev/null
select is(alert('jobs'), null, 'and what was before it was switched on again does not count');
-- The same is done by two jobs.
update billing.jobs set since = now() - interval '1 day' where name in ('monthly_grants', 'missed_grants');
delete from billing.job_runs where job in ('monthly_grants', 'missed_grants');
select billing.record_job_run('monthly_grants', now() - interval '20 minutes', 9, 1, 'locked') \g /dev/null
select alike(alert('jobs', 'job, problem'), '%(monthly_grants,failed)%', 'an account that could not be granted');
select billing.record_job_run('missed_grants', now(), 1) \g /dev/null
select is(alert('jobs'), null, 'until the other one has');
-- One that takes long.
delete from billing.job_runs where job = 'release_holds';
update billing.jobs set since = now() - interval '1 day' where name = 'release_holds';
insert into billing.job_runs (run_id, job, started_at) values (gen_random_uuid(), 'release_holds', now() - interval '14 minutes');
select is(alert('jobs'), null, 'one that is at it has begun in time');
update billing.job_runs set started_at = now() - interval '16 minutes' where job = 'release_holds';
select is(alert('jobs', 'job, problem'), '(release_holds,late)', 'and is late when it takes too long');
delete from billing.job_runs where job = 'release_holds';
update billing.jobs set since = now() where name = 'release_holds';

-- Refunds.

select is(alert('stuck_refunds'), null, 'one that was asked for just then');
create function refund(p_status text, p_ago interval) returns void language sql as
$$update billing.credit_refunds set status = p_status, updated_at = now() - p_ago where user_id = e()$$;
select refund('requested', '1 hour') \g /dev/null
select is(alert('stuck_refunds'), null, 'for an hour it may wait for Stripe');
select refund('requested', '1 hour 1 second') \g /dev/null
select is(
    alert('stuck_refunds', 'user_id, amount, payment_intent_id, status'), format('(%s,5,pi_e,requested)', e()),
    'then it is stuck'
);
select refund('requires_action', '1 day') \g /dev/null
select is(alert('stuck_refunds'), null, 'for a day it may wait for somebody');
select refund('requires_action', '1 day 1 second') \g /dev/null
select is(alert('stuck_refunds', 'status'), '(requires_action)', 'then somebody is to look');
select refund('pending', '10 days') \g /dev/null
select is(alert('stuck_refunds'), null, 'for ten days it may take');
select refund('pending', '10 days 1 second') \g /dev/null
select is(alert('stuck_refunds', 'status'), '(pending)', 'then somebody is to ask');
select refund('succeeded', '1 year') \g /dev/null
select is(alert('stuck_refunds'), null, 'one that has ended is over');

-- Events.

select is(alert('undelivered_events'), null, 'events that wait since just then');
update billing.billing_events set pending_since = now() - interval '15 minutes' where status = 'pending';
select is(alert('undelivered_events'), null, 'for fifteen minutes they may');
update billing.billing_events set status = 'delivered', delivered_at = now(), next_attempt_at = null
where status = 'pending';
update billing.billing_events
set status = 'pending', delivered_at = null, next_attempt_at = now(), pending_since = now() - interval '15 minutes 1 second'
where user_id = a() and event_no = 1;
select is(
    alert('undelivered_events', 'user_id, event_no, kind, status'), format('(%s,1,credits.granted,pending)', a()),
    'then one is late'
);
update billing.billing_events set status = 'dead', next_attempt_at = null, created_at = now(), error = '410'
where user_id = a() and event_no = 1;
select is(alert('undelivered_events', 'event_no, status, error'), '(1,dead,410)', 'one that was given up, at once');
select billing.replay_events() \g /dev/null
select billing.set_job('deliver_events', false) \g /dev/null
select is(alert('undelivered_events'), null, 'unless nothing is to be delivered');
select billing.set_job('deliver_events', true) \g /dev/null
update billing.billing_events set created_at = now() - interval '1 day' where user_id = a() and event_no = 1;
select billing.replay_events() \g /dev/null
select is(alert('undelivered_events'), null, 'until it is replayed: then it has waited since just then');

-- What nobody reads who is on call.

set local role billing_monitor;
select throws_ok(
    format('select %s from billing.%s', column_name, table_name), '42501', 'permission denied for table ' || table_name,
    format('billing_monitor does not read %s.%s', table_name, column_name)
)
from (values
    ('billing_events', 'payload'), ('stripe_events', 'payload'), ('stripe_calls', 'request'), ('credit_refunds', 'reason')
) c (table_name, column_name);
select throws_ok(
    'select * from billing.billing_events', '42501', 'permission denied for table billing_events', 'nor by a star'
);
reset role;
select is_empty(
    $$
    select c.relname, a.attname from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
    where c.relnamespace = 'billing'::regnamespace and c.relkind = 'v' and a.attname in ('payload', 'request', 'reason')
        and c.relname <> 'alert_failed_deductions'
    $$,
    'nor by an alert'
);

select * from finish();
rollback;
