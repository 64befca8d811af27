-- What is older than the retention and nothing waits for is deleted; evidence and what is open never are.
\ir ../payments.psql

create function run(p_limit int default 500, p_at timestamptz default null) returns text language plpgsql as $$
declare
    v_step billing.job_step;
    v_rows bigint := 0;
begin
    loop
        v_step := billing.clean_up(p_at, p_limit, v_step.next);
        v_rows := v_rows + v_step.rows;
        exit when v_step.next is null;
    end loop;
    return concat_ws(' ', v_rows, 'rows', v_step.failures, v_step.error);
end
$$;
create function runs() returns text language sql as
$$select string_agg(concat_ws(' ', job, outcome, rows), ', ' order by rows) from billing.job_runs$$;
create function events(p_user_id uuid) returns text language sql as $$
    select string_agg(event_no || ' ' || status, ', ' order by event_no)
    from billing.billing_events where user_id = p_user_id
$$;

select billing.open_account(u, 'buyer') from unnest(array[a(), b(), c()]) u \g /dev/null
select billing.grant_credits(u, 5, 'promotion') from unnest(array[a(), b(), c()]) u \g /dev/null
select billing.deduct_credits(a(), 4.5) \g /dev/null
select billing.deduct_credits(a(), 0.5) \g /dev/null
select billing.set_job('deliver_events', true) \g /dev/null
select billing.grant_credits(b(), 1, 'promotion') from generate_series(1, 3) \g /dev/null
select billing.finish_event(b(), event_id) from billing.list_events(b()) where event_no = 2 \g /dev/null
select billing.fail_event(b(), event_id, 'e') from billing.list_events(b()), generate_series(1, 11) where event_no = 3
\g /dev/null
select billing.set_job('deliver_events', false) \g /dev/null
select billing.record_job_run('stripe_calls', billing_private.clock(), n) from generate_series(1, 3) n \g /dev/null
select billing.record_job_run('stripe_calls', billing_private.clock(), 4, 1, 'e') \g /dev/null
insert into billing.job_runs (run_id, job, started_at, rows)
values (gen_random_uuid(), 'a_job_that_is_gone', billing_private.clock(), 5);
select billing.record_stripe_event(stripe_event('evt_' || type, type, '{}'))
from unnest(array['invoice.paid', 'customer.created', 'invoice.payment_failed']) type \g /dev/null
select billing.apply_stripe_event('evt_invoice.paid') \g /dev/null
select billing.record_stripe_event(stripe_event('evt_failed', 'invoice.paid', '{}')) \g /dev/null
select billing.fail_stripe_event('evt_failed', 'e') from generate_series(1, 12) \g /dev/null
select buys(d(), 10, 'pi_d') \g /dev/null

create temp table kept as
select
    (select count(*) from billing.credit_ledger) as entries, (select count(*) from billing.admin_actions_log) as actions,
    (select count(*) from billing.credit_purchases) as purchases, (select count(*) from billing.stripe_calls) as calls;

set local tap.now = '2025-06-08 12:00+00';
select is(run(), '0 rows 0', 'for ninety days all is kept');
set local tap.now = '2025-06-08 12:00:00.000001+00';
select is(run(500, '2025-06-08 12:00+00'), '0 rows 0', 'as of then too');
select billing.grant_credits(c(), 1, 'promotion') \g /dev/null
-- Four runs, two webhook events, the first two events of a, the kept and the delivered one of b, the first one of c.
select is(run(1), '11 rows 0', 'then what is over is deleted, batch by batch');
select is(runs(), 'a_job_that_is_gone running 5', 'runs that have ended, of whatever outcome');
select is(
    (select string_agg(concat_ws(' ', event_id, status), ', ' order by event_id) from billing.stripe_events),
    'evt_failed failed, evt_invoice.payment_failed pending', 'webhook events that were applied or ignored'
);
select is(events(a()), '3 kept', 'of the events of a user, the newest stays, however old: it keeps the count');
select is(events(b()), '3 dead, 4 pending', 'and what was not delivered');
select is(events(c()), '2 kept', 'and what is not old');
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
select is(events(a()), '3 kept, 4 kept', 'the count goes on');
select is(run(), '1 rows 0', 'what has been overtaken since goes with the next run');
select is(run(), '0 rows 0', 'and then nothing');
select rows_are(
    $$
    select
        (select count(*) from billing.credit_ledger where created_at < '2025-04-01'),
        (select count(*) from billing.admin_actions_log), (select count(*) from billing.credit_purchases),
        (select count(*) from billing.stripe_calls)
    $$,
    'select * from kept', 'the ledger, the admin log, purchases and calls are never touched'
);

-- The setting.

update billing.billing_settings set retention = '1 month 1 day';
set local tap.now = '2025-07-09 12:00+00';
select billing.grant_credits(a(), 1, 'promotion') \g /dev/null
set local tap.now = '2025-09-01 12:00+00';
select is(run(), '1 rows 0', 'the retention is that of the settings');

-- What checkpoints noted.

create function checkpoint() returns void language plpgsql as $$
declare
    v_step billing.job_step;
begin
    perform set_config('tap.now', (current_setting('tap.now')::timestamptz + interval '1 day')::text, true);
    loop
        v_step := billing.checkpoint_ledger(null, 2, v_step.next);
        exit when v_step.next is null;
    end loop;
end
$$;
create function heads() returns text language sql as $$
    select string_agg(right(user_id::text, 1) || entry_no, ' ' order by user_id, checkpoint_id)
    from billing.ledger_heads
$$;
select checkpoint() \g /dev/null
select billing.deduct_credits(a(), 0.1) \g /dev/null
select checkpoint() \g /dev/null
select billing.deduct_credits(a(), 0.1) \g /dev/null
select checkpoint() \g /dev/null
select billing.deduct_credits(b(), 0.1) \g /dev/null
select is(
    heads(),
    (select string_agg(right(user_id::text, 1) || no, ' ' order by user_id, no) from (
        select user_id, entry_count - case user_id when b() then 1 else 0 end as no from billing.credit_accounts
        union all select user_id, entry_count - 1 from billing.credit_accounts where user_id = a()
        union all select user_id, entry_count - 2 from billing.credit_accounts where user_id = a()
    ) n),
    'an account that changes has a row for each checkpoint'
);
select billing.checkpoint_ledger(p_limit => 2) \g /dev/null
select is(run(1), '2 rows 0', 'of which the newest that counts stays');
select is(
    (select string_agg(entry_no::text, ' ' order by entry_no) from billing.ledger_heads where user_id = b()),
    (select (entry_count - 1) || ' ' || entry_count from billing.credit_accounts where user_id = b()),
    'what a verification has noted that is not through replaces nothing'
);
select checkpoint() \g /dev/null
select is(
    (select string_agg(problem, ', ') from billing.ledger_findings), null,
    'and the next checkpoint still verifies'
);
select is((select count(*) from billing.ledger_checkpoints), 4::bigint, 'checkpoints are never deleted');

select throws_ok(
    format('select billing.clean_up(%L)', at), 'UC422', 'time_lies_ahead', 'not before its time: ' || at
)
from unnest(array['2026-01-01 00:00+00', 'infinity']) at;
select throws_ok(
    format('select billing.clean_up(p_limit => %s)', page), 'UC422', 'limit_out_of_range', 'a batch of ' || page
)
from unnest(array['0', '501', 'null']) page;

select * from finish();
rollback;
