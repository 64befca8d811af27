-- What the database tells Prometheus: names and labels that do not change, numbers that are right.
\ir ../payments.psql
-- Alerts go by now().
select set_config('tap.now', now()::text, true) \g /dev/null

create function metric(p_name text, p_labels jsonb default '{}') returns numeric language sql as
$$select trim_scale(value) from billing.list_metrics() where name = p_name and labels @> p_labels$$;
create function of_type(p_name text, p_type text) returns numeric language sql as
$$select metric(p_name, jsonb_build_object('type', p_type))$$;
create function of_queue(p_name text, p_queue text) returns numeric language sql as
$$select metric(p_name, jsonb_build_object('queue', p_queue))$$;
create function of_job(p_name text, p_job text) returns numeric language sql as
$$select metric(p_name, jsonb_build_object('job_name', p_job))$$;

-- An empty system.

select is_empty(
    'select name, labels from billing.list_metrics() where value is null or value = ''NaN''',
    'each has a value'
);
select is_empty(
    'select name, labels from billing.list_metrics() group by name, labels having count(*) > 1', 'and is there once'
);
select is_empty(
    $$select name from billing.list_metrics() where name !~ '^billing_[a-z0-9_]+$'$$, 'names are those of Prometheus'
);
select is_empty(
    $$
    select labels from billing.list_metrics() cross join lateral jsonb_each(labels) l
    where jsonb_typeof(l.value) <> 'string'
    $$,
    'labels are texts'
);
select is(
    (select count(*) from billing.list_metrics() where name = 'billing_ledger_entries_5m'), 12::bigint,
    'each type of entry is there, with 0: a rate needs a beginning'
);
select is(of_type('billing_ledger_entries_5m', 'usage'), 0::numeric, 'nothing was spent');
select is(of_queue('billing_queue_waiting', queue), 0::numeric, 'nothing waits: ' || queue)
from unnest(array['stripe_events', 'stripe_calls', 'events', 'refunds']) queue;
select is(of_job('billing_job_enabled', 'clean_up'), 1::numeric, 'a job is on');
select is(of_job('billing_job_enabled', 'deliver_events'), 0::numeric, 'another is off');
select is(of_job('billing_job_last_success_timestamp_seconds', 'clean_up'), null, 'that has not run is no number');
select is(
    (select count(*) from billing.list_metrics() where name = 'billing_alert_rows' and value = 0),
    (select count(*) from billing.list_alerts()), 'no alert has a row'
);

-- Some life.

select set_config('tap.now', (now() - interval '5 minutes')::text, true) \g /dev/null
select billing.open_account(u) from unnest(array[a(), b()]) u \g /dev/null
select billing.deduct_credits(a(), 1) \g /dev/null
select set_config('tap.now', (now() - interval '4 minutes 59 seconds')::text, true) \g /dev/null
select billing.deduct_credits(a(), 0.000000001) \g /dev/null
select billing.deduct_credits(a(), 1.5) \g /dev/null
select billing.deduct_credits(u, 100) from unnest(array[a(), b()]) u \g /dev/null
select billing.hold_credits(b(), 2.5, '1 hour') from generate_series(1, 2) \g /dev/null
select billing.release_hold(b(), (select hold_id from billing.credit_holds limit 1)) \g /dev/null
select billing.grant_credits(a(), 2, 'promotion') \g /dev/null
select set_config('tap.now', now()::text, true) \g /dev/null
select is(
    of_type('billing_ledger_entries_5m', 'usage'), 2::numeric,
    'entries of the last five minutes, without refusals'
);
select is(of_type('billing_ledger_credits_5m', 'usage'), -1.500000001, 'and their credits, exactly');
select is(of_type('billing_ledger_entries_5m', 'tier_grant'), 0::numeric, 'what is older does not count');
select is(metric('billing_refused_deductions_5m'), 2::numeric, 'what was refused');
select is(metric('billing_active_holds'), 1::numeric, 'live holds');
select is(metric('billing_held_credits'), 2.5, 'and what they hold');

-- Queues.

select billing.set_job('deliver_events', true) \g /dev/null
select set_config('tap.now', (now() - interval '90 seconds')::text, true) \g /dev/null
select billing.grant_credits(b(), 1, 'promotion') from generate_series(1, 2) \g /dev/null
select billing.record_stripe_event(stripe_event('evt_' || n, 'invoice.paid', '{}')) from generate_series(1, 2) n \g /dev/null
select billing.fail_stripe_event('evt_2', 'e') from generate_series(1, 12) \g /dev/null
select billing.request_customer(a()) \g /dev/null
select set_config('tap.now', now()::text, true) \g /dev/null
select is(of_queue('billing_queue_waiting', 'events'), 2::numeric, 'events wait');
select is(of_queue('billing_queue_oldest_seconds', 'events'), 90::numeric, 'for so long');
select is(of_queue('billing_queue_given_up', 'events'), 0::numeric, 'none was given up');
select billing.fail_event(b(), event_id, 'e') from billing.list_events(b(), p_limit => 1), generate_series(1, 11) \g /dev/null
select is(of_queue('billing_queue_given_up', 'events'), 1::numeric, 'one was');
select is(of_queue('billing_queue_waiting', 'events'), 1::numeric, 'and waits no more');
select is(of_queue('billing_queue_waiting', 'stripe_events'), 1::numeric, 'a webhook event waits');
select is(of_queue('billing_queue_oldest_seconds', 'stripe_events'), 90::numeric, 'for so long');
select is(of_queue('billing_queue_given_up', 'stripe_events'), 1::numeric, 'another was given up');
select is(of_queue('billing_queue_waiting', 'stripe_calls'), 1::numeric, 'a call to Stripe waits');
select is(of_queue('billing_queue_oldest_seconds', 'stripe_calls'), 90::numeric, 'for so long');
select billing.bootstrap_super_admin(chief()) \g /dev/null
select buys(d(), 10, 'pi_d') \g /dev/null
select billing.request_refund(chief(), d(), 5, 'r', true, 'pi_d') \g /dev/null
select is(of_queue('billing_queue_waiting', 'refunds'), 1::numeric, 'a refund waits');
select is(of_queue('billing_queue_oldest_seconds', 'refunds'), 0::numeric, 'since just then');

-- Jobs and checkpoints.

select billing.record_job_run('stripe_calls', now() - interval '7 seconds', 42) \g /dev/null
select is(of_job('billing_job_last_seconds', 'stripe_calls'), 7::numeric, 'how long a job took');
select is(of_job('billing_job_last_rows', 'stripe_calls'), 42::numeric, 'how much it did');
select is(of_job('billing_job_failed', 'stripe_calls'), 0::numeric, 'it did not fail');
select is(
    of_job('billing_job_last_success_timestamp_seconds', 'stripe_calls'),
    trim_scale(extract(epoch from now() - interval '7 seconds')), 'when it last succeeded'
);
select billing.record_job_run('stripe_calls', now() - interval '1 second', 0, 0, 'e') \g /dev/null
select is(of_job('billing_job_failed', 'stripe_calls'), 1::numeric, 'it has failed');
select is(
    of_job('billing_job_last_success_timestamp_seconds', 'stripe_calls'),
    trim_scale(extract(epoch from now() - interval '7 seconds')), 'which is no success'
);
select billing.begin_job('clean_up') \g /dev/null
select is(of_job('billing_job_running', 'clean_up'), 1::numeric, 'another is running');
select is(metric('billing_alert_rows', '{"alert": "jobs"}'), 1::numeric, 'the alert has a row');
select is(metric('billing_checkpoint_age_seconds'), null, 'there is no checkpoint');
select set_config('tap.now', (now() - interval '1 hour')::text, true) \g /dev/null
select billing.checkpoint_ledger() \g /dev/null
select set_config('tap.now', now()::text, true) \g /dev/null
select is(metric('billing_checkpoint_age_seconds'), 3600::numeric, 'when it was taken');
select rows_are(
    $$select metric(name) from unnest(array[
        'billing_checkpoint_accounts', 'billing_checkpoint_entries', 'billing_checkpoint_balance_credits',
        'billing_checkpoint_findings'
    ]) name$$,
    'select trim_scale(value) from billing.list_checkpoints() c
    cross join lateral (values (c.accounts::numeric), (c.entries), (c.balance), (c.findings)) v (value)',
    'and what the ledger was'
);
select is_empty('select name, labels from billing.list_metrics() where value is null', 'each still has a value');
set local role billing_monitor;
select isnt_empty('select * from billing.list_metrics()', 'billing_monitor may ask as well');

select * from finish();
rollback;
