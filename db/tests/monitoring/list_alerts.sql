-- One row per alert view, also when it is empty, and one of its rows when it is not.
\ir ../setup.psql
-- Alerts go by now().
select set_config('tap.now', now()::text, true) \g /dev/null

select rows_are(
    'select * from billing.list_alerts()',
    $$
    select name, 0, null::jsonb
    from unnest(array[
        'admin_activity', 'failed_deductions', 'jobs', 'ledger', 'lot_sums', 'negative_balances', 'stuck_refunds',
        'undelivered_events', 'webhook_errors'
    ]) name
    $$,
    'all is well'
);
select bag_eq(
    'select alert from billing.list_alerts()',
    $$
    select substr(c.relname, 7)::text collate "default" from pg_class c
    where c.relnamespace = 'billing'::regnamespace and c.relkind = 'v' and c.relname like 'alert\_%'
    $$,
    'there is one row for each view'
);
select billing.open_account(a()) \g /dev/null
select billing.deduct_credits(a(), 1000) from generate_series(1, 12) \g /dev/null
select billing.record_job_run(job, now(), 0, 0, 'e') from unnest(array['stripe_calls', 'deliver_events', 'clean_up']) job
\g /dev/null
select rows_are(
    'select alert, rows from billing.list_alerts() where rows > 0', $$values ('failed_deductions', 1), ('jobs', 2)$$,
    'how many rows each has'
);
select is(
    (select sample - array['first_at', 'last_at'] from billing.list_alerts() where alert = 'failed_deductions'),
    jsonb_build_object('user_id', a(), 'reason', 'insufficient_credits', 'refused', 12), 'and what one of them says'
);
set local role billing_monitor;
select is((select count(*) from billing.list_alerts() where rows > 0), 2::bigint, 'billing_monitor is told the same');

select * from finish();
rollback;
