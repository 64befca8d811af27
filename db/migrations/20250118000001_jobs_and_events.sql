-- Jobs that run by themselves, events that tell an application what happened, checkpoints of the ledger, and the views
-- that alert.

select
    set_config('billing.installer', current_user, true),
    set_config('role', 'billing_owner', true);

-- Configuration.

alter table billing.billing_settings
    add column low_balance numeric not null default 1
        constraint settings_low_balance_exact check (
            low_balance >= 0 and low_balance <= 1000000 and low_balance = round(low_balance, 9)
        ),
    add column depleted_balance numeric not null default 0.01
        constraint settings_depleted_balance_exact check (
            depleted_balance > 0 and depleted_balance <= 1000000 and depleted_balance = round(depleted_balance, 9)
        ),
    add column retention interval not null default interval '90 days'
        constraint settings_retention_long_enough check (retention >= interval '31 days');
comment on column billing.billing_settings.low_balance is
    'A balance that falls below this is told as balance.low; an account may have a threshold of its own. 0: it is not. A
change counts for an account from its next credits on.';
comment on column billing.billing_settings.depleted_balance is
    'A balance that falls below this is told as balance.depleted.';
comment on column billing.billing_settings.retention is
    'How long runs of jobs, processed webhook events and events are kept that nothing waits for.';

-- The rows that the migrations brought count as applied.
update billing_private.config_applied
set content = content || '{"low_balance": 1, "depleted_balance": 0.01, "retention": "90 days"}'
where section = 'settings';

-- What an account is told about. One comparison in a deduction: is the balance below what comes next?

alter table billing.credit_accounts
    add column low_balance billing.credits,
    add column alert_below billing.credits default 1;
-- Accounts that are there are armed as they are; later ones when their first credits come.
update billing.credit_accounts set alert_below = case when balance >= 0.01 then 0.01 end where balance < 1;
-- squawk-ignore ban-drop-default
alter table billing.credit_accounts alter column alert_below drop default;
comment on column billing.credit_accounts.low_balance is
    'The account''s own threshold of balance.low; null: that of the settings, 0: none.';
comment on column billing.credit_accounts.alert_below is
    'A balance below this is an event; null: nothing more to tell until credits come.';

-- Accounts that a job is to look at, in an order in which it can go on where it was.
drop index billing.credit_accounts_due;
create index credit_accounts_due
    on billing.credit_accounts (next_expiry_at, user_id) where next_expiry_at is not null;
drop index billing.credit_accounts_granted;
create index credit_accounts_ungranted
    on billing.credit_accounts (coalesce(granted_through, date '-infinity'), user_id) where status = 'active';
create index credit_holds_overdue on billing.credit_holds (expires_at, user_id) where status = 'active';
-- Entries are appended in the order of their time, so this costs next to nothing.
create index credit_ledger_by_time on billing.credit_ledger using brin (created_at) with (autosummarize = on);

-- Jobs.

create function billing_private.is_schedule(p_schedule text)
returns boolean
language plpgsql
immutable
set search_path = pg_temp
as $$
declare
    v_values constant text[] := array[
        '[0-5]?[0-9]', '[01]?[0-9]|2[0-3]', '0?[1-9]|[12][0-9]|3[01]', '0?[1-9]|1[0-2]', '[0-7]'
    ];
    v_fields constant text[] := string_to_array(p_schedule, ' ');
begin
    return cardinality(v_fields) = 5 and (
        select bool_and(
            v_fields[n] ~ format(
                '^%1$s(,%1$s)*$', format('(\*|(%1$s)(-(%1$s))?)(/[1-9][0-9]?)?', v_values[n])
            )
        )
        from generate_subscripts(v_values, 1) n
    );
end
$$;
comment on function billing_private.is_schedule(text) is
    'Whether a text is a schedule as in a crontab: minute, hour, day, month and weekday, in numbers.';
revoke all on function billing_private.is_schedule(text) from public;

create table billing.jobs (
    name        text primary key,
    function    text,
    schedule    text not null,
    batch_size  integer not null,
    enabled     boolean not null default true,
    late_after  interval not null,
    since       timestamptz not null default clock_timestamp(),
    description text not null,
    constraint job_name_well_formed check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
    constraint job_function_well_formed check (function ~ '^[a-z][a-z0-9_]{0,62}$'),
    constraint job_schedule_well_formed check (billing_private.is_schedule(schedule)),
    constraint job_batch_size_bounded check (batch_size between 1 and 500),
    constraint job_late_after_positive check (late_after > interval '0'),
    constraint job_described check (description ~ '\S')
);
comment on table billing.jobs is
    'What is to be done again and again. pg_cron, the worker or scripts/cron_jobs.py calls billing.run_job(name).';
comment on column billing.jobs.function is
    'A function of the schema billing (p_at, p_limit, p_after) that does one batch; null: the worker does it.';
comment on column billing.jobs.schedule is 'As in a crontab, in UTC.';
comment on column billing.jobs.batch_size is
    'How many accounts or rows are done in one transaction. Of accounts at most 60: each is a subtransaction.';
comment on column billing.jobs.enabled is 'Whether it runs by its schedule.';
comment on column billing.jobs.late_after is 'Without a run that succeeded for this long, it alerts.';
comment on column billing.jobs.since is 'When it was last switched on.';

insert into billing.jobs (name, function, schedule, batch_size, enabled, late_after, description)
values
    ('monthly_grants', 'grant_monthly_credits', '0 0 1 * *', 50, true, '32 days',
        'Grants the month''s credits to every account.'),
    ('missed_grants', 'grant_monthly_credits', '20 * * * *', 50, true, '4 hours',
        'Grants what monthly_grants has missed: it did not run, or an account could not be granted then.'),
    ('expire_credits', 'expire_credits', '*/10 * * * *', 50, true, '1 hour',
        'Books the credits that have expired.'),
    ('release_holds', 'release_expired_holds', '* * * * *', 50, true, '15 minutes',
        'Ends holds that nobody captured or released in time.'),
    ('retry_stripe_events', 'retry_stripe_events', '* * * * *', 1, true, '15 minutes',
        'Applies the webhook events that could not be applied when they came.'),
    ('stripe_calls', null, '* * * * *', 100, true, '15 minutes',
        'Does at Stripe what was recorded and not done: refunds, purchases, customers, automatic top-ups.'),
    ('deliver_events', null, '* * * * *', 100, false, '15 minutes',
        'Delivers events to EVENT_WEBHOOK_URL.'),
    ('checkpoint_ledger', 'checkpoint_ledger', '30 3 * * *', 100, true, '2 days',
        'Verifies every account against itself and the checkpoint before, and takes a new checkpoint.'),
    ('clean_up', 'clean_up', '45 4 * * *', 500, true, '3 days',
        'Deletes what is older than the retention of the settings and nothing waits for.');

create table billing.job_runs (
    run_id      uuid primary key,
    job         text not null,
    started_at  timestamptz not null,
    finished_at timestamptz,
    outcome     text not null default 'running',
    rows        bigint not null default 0,
    failures    bigint not null default 0,
    error       text,
    constraint run_outcome_known check (outcome in ('running', 'succeeded', 'failed', 'interrupted')),
    constraint run_finished_when_not_running check ((outcome = 'running') = (finished_at is null)),
    constraint run_counts_not_negative check (rows >= 0 and failures >= 0)
);
comment on table billing.job_runs is 'Runs of jobs.';
comment on column billing.job_runs.rows is 'How many accounts or rows it changed.';
comment on column billing.job_runs.failures is 'How many it could not do; error names the first ones.';

create index job_runs_by_job on billing.job_runs (job, started_at desc);
create index job_runs_by_time on billing.job_runs (started_at);
create index job_runs_running on billing.job_runs (job) where outcome = 'running';

-- Events.

create table billing.billing_events (
    user_id         uuid not null,
    event_id        uuid not null,
    event_no        bigint not null,
    kind            text not null,
    payload         billing.object_json not null,
    status          text not null,
    attempts        integer not null default 0,
    next_attempt_at timestamptz,
    error           text,
    created_at      timestamptz not null,
    pending_since   timestamptz,
    delivered_at    timestamptz,
    primary key (user_id, event_id),
    constraint event_numbered_once unique (user_id, event_no),
    constraint event_kind_known check (
        kind in ('balance.low', 'balance.depleted', 'credits.granted', 'purchase.completed', 'refund.succeeded',
            'refund.failed', 'account.frozen', 'account.unfrozen', 'auto_top_up.failed')
    ),
    constraint event_delivery_status_known check (status in ('kept', 'pending', 'delivered', 'dead')),
    constraint event_delivered_at_a_time check ((status = 'delivered') = (delivered_at is not null)),
    constraint event_pending_since_a_time check (status <> 'pending' or pending_since is not null),
    constraint event_tried_while_pending check (status = 'pending' or next_attempt_at is null)
);
comment on table billing.billing_events is
    'What an application is told, written in the transaction in which it happened. Delivered per user in order.';
comment on column billing.billing_events.event_id is 'Ordered by time; the webhook-id of its delivery.';
comment on column billing.billing_events.event_no is '1, 2, 3 … per user: the order of delivery.';
comment on column billing.billing_events.status is
    'kept (delivery was off), pending, delivered, or dead: given up until it is replayed.';
comment on column billing.billing_events.attempts is 'How often delivering it failed.';
comment on column billing.billing_events.next_attempt_at is
    'When it is tried; null: it waits for the event before it, or for nothing.';

comment on column billing.billing_events.pending_since is 'When it was first to be delivered, or was last replayed.';

create index billing_events_due on billing.billing_events (next_attempt_at) where next_attempt_at is not null;
create index billing_events_pending on billing.billing_events (user_id, event_no) where status = 'pending';
create index billing_events_undelivered on billing.billing_events (created_at) where status in ('pending', 'dead');
create index billing_events_by_time on billing.billing_events (created_at, event_id);

alter table billing.billing_events enable row level security;
create policy billing_events_own on billing.billing_events
    for select using (user_id = billing_private.current_user_id());

-- What was told of a refund: an event is not kept for ever.
alter table billing.credit_refunds
    add column told text constraint refund_told_known check (told in ('refund.succeeded', 'refund.failed'));
comment on column billing.credit_refunds.told is 'The newest event of the refund; null: none yet.';
update billing.credit_refunds
set told = case status when 'succeeded' then 'refund.succeeded' else 'refund.failed' end
where status in ('succeeded', 'failed', 'canceled');

-- Checkpoints of the ledger.

create table billing.ledger_checkpoints (
    checkpoint_id   uuid primary key,
    started_at      timestamptz not null,
    finished_at     timestamptz not null,
    accounts        bigint not null,
    entries         bigint not null,
    balance         numeric not null,
    heads_root      billing.sha256_hash not null,
    findings        bigint not null,
    checkpoint_hash billing.sha256_hash not null
);
comment on table billing.ledger_checkpoints is
    'Append-only: what the ledger was when it was verified. Each is chained to the one before by its hash.';
comment on column billing.ledger_checkpoints.checkpoint_id is 'Ordered by time.';
comment on column billing.ledger_checkpoints.accounts is 'How many accounts there were.';
comment on column billing.ledger_checkpoints.entries is 'How many entries they had.';
comment on column billing.ledger_checkpoints.balance is 'The sum of their balances, in credits.';
comment on column billing.ledger_checkpoints.heads_root is 'A hash over the newest entry of every account.';
comment on column billing.ledger_checkpoints.findings is 'How many things did not verify.';
comment on column billing.ledger_checkpoints.checkpoint_hash is
    'sha256(hash of the checkpoint before || this one). Note it outside of the database, and nobody can rewrite it.';

create trigger ledger_checkpoints_append_only
    before update or delete or truncate on billing.ledger_checkpoints
    for each statement execute function billing_private.refuse_change();
alter table billing.ledger_checkpoints enable always trigger ledger_checkpoints_append_only;

create table billing.ledger_heads (
    user_id       uuid not null,
    checkpoint_id uuid not null,
    entry_no      bigint not null,
    entry_hash    bytea not null,
    primary key (user_id, checkpoint_id)
);
comment on table billing.ledger_heads is
    'The newest entry of an account at a checkpoint; one row for as long as it stays the newest.';
comment on column billing.ledger_heads.checkpoint_id is
    'The first checkpoint that found it. It counts once that checkpoint is in ledger_checkpoints.';
comment on column billing.ledger_heads.entry_no is 'Its number; 0: there was none.';
comment on column billing.ledger_heads.entry_hash is 'Its hash; empty: there was none.';

create table billing_private.verification (
    name  text primary key default 'ledger',
    state jsonb not null,
    constraint verification_one_row check (name = 'ledger')
);
comment on table billing_private.verification is
    'How far the verification that is under way has come, in one row. Callers only say where they are.';
comment on column billing_private.verification.state is
    'Where the next range begins, what the ranges before counted, and the hashes over the heads so far.';

create table billing.ledger_findings (
    finding_id    uuid primary key,
    checkpoint_id uuid not null,
    user_id       uuid,
    entry_no      bigint,
    problem       text not null,
    detail        text not null,
    found_at      timestamptz not null
);
comment on table billing.ledger_findings is 'What does not verify, as of the latest verification of each account.';
comment on column billing.ledger_findings.checkpoint_id is 'The verification that found it.';
comment on column billing.ledger_findings.entry_no is 'The entry; null: it is of the account.';
comment on column billing.ledger_findings.problem is 'Its name: see docs/RUNBOOK.md.';
comment on column billing.ledger_findings.detail is 'A sentence with the values.';
comment on column billing.ledger_findings.found_at is 'When it was found.';
comment on column billing.ledger_findings.finding_id is 'Ordered by time.';

alter table billing.ledger_heads enable row level security;
alter table billing.ledger_findings enable row level security;

-- What whoever is on call reads: never a payload, nor why somebody was refunded.

create policy credit_refunds_monitor on billing.credit_refunds for select to billing_monitor using (true);
create policy billing_events_monitor on billing.billing_events for select to billing_monitor using (true);
create policy ledger_findings_monitor on billing.ledger_findings for select to billing_monitor using (true);
grant select on billing.jobs, billing.job_runs, billing.ledger_checkpoints, billing.ledger_findings to billing_monitor;
grant select (refund_id, user_id, mode, amount, amount_cents, payment_intent_id, stripe_refund_id, status, entry_no,
    error, created_at, updated_at) on billing.credit_refunds to billing_monitor;
grant select (user_id, event_id, event_no, kind, status, attempts, next_attempt_at, error, created_at, pending_since,
    delivered_at) on billing.billing_events to billing_monitor;

do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        grant select (user_id, event_id, event_no, kind, payload, created_at) on billing.billing_events
            to authenticated;
    end if;
end
$$;

-- Alerts: each view is empty when all is well.

create index admin_actions_log_by_hour on billing.admin_actions_log (created_at);

create view billing.alert_negative_balances with (security_invoker = true) as
select user_id, balance, held, debt, status, updated_at
from billing.credit_accounts
where balance < 0;
comment on view billing.alert_negative_balances is
    'Accounts below zero. A constraint forbids it: a row means that the constraint is gone.';

create view billing.alert_failed_deductions with (security_invoker = true) as
select
    user_id, metadata ->> 'refused' as reason, count(*) as refused, min(created_at) as first_at,
    max(created_at) as last_at
from billing.credit_ledger
where type = 'usage' and amount = 0 and created_at > now() - interval '1 hour'
group by user_id, metadata ->> 'refused'
having count(*) >= 10;
comment on view billing.alert_failed_deductions is
    'Accounts of which ten deductions or more were refused in the last hour: somebody tries in vain.';

create view billing.alert_webhook_errors with (security_invoker = true) as
select event_id, type, status, attempts, error, next_attempt_at, received_at
from billing.stripe_events
where status = 'failed'
union all
select event_id, type, status, attempts, error, next_attempt_at, received_at
from billing.stripe_events
where status = 'pending' and (attempts >= 3 or next_attempt_at < now() - interval '15 minutes');
comment on view billing.alert_webhook_errors is
    'Webhook events that were given up, failed three times, or wait for nobody.';

create view billing.alert_admin_activity with (security_invoker = true) as
select
    admin_user_id, count(*) as actions, count(*) filter (where outcome <> 'done') as refused,
    sum(abs(amount)) filter (where outcome = 'done') as amount, max(created_at) as last_at
from billing.admin_actions_log
where created_at > now() - interval '1 hour' and admin_user_id is not null
group by admin_user_id
having count(*) >= 50 or count(*) filter (where outcome <> 'done') >= 5;
comment on view billing.alert_admin_activity is
    'Admins with fifty actions or more in the last hour, or five that were refused.';

create view billing.alert_ledger with (security_invoker = true) as
select user_id, entry_no, problem, detail, found_at
from billing.ledger_findings
where problem not in ('lot_off', 'lots_of_entry_off', 'balance_off', 'burns_off', 'held_off');
comment on view billing.alert_ledger is
    'What the verification found changed, missing or reordered in the ledger.';

create view billing.alert_lot_sums with (security_invoker = true) as
select user_id, entry_no, problem, detail, found_at
from billing.ledger_findings
where problem in ('lot_off', 'lots_of_entry_off', 'balance_off', 'burns_off', 'held_off');
comment on view billing.alert_lot_sums is
    'Accounts whose lots, burns or holds do not add up to their balance, as the verification found.';

create view billing.alert_jobs with (security_invoker = true) as
select
    j.name as job,
    case when last.outcome in ('failed', 'interrupted') then last.outcome else 'late' end as problem,
    last.started_at, good.started_at as succeeded_at, last.error
from billing.jobs j
-- What one job could not do, another one with the same function may have done since.
cross join lateral (
    select array_agg(s.name) as names from billing.jobs s where s.name = j.name or s.function = j.function
) same
left join lateral (
    select r.started_at, r.outcome, r.error
    from unnest(same.names) n (name)
    cross join lateral (
        select started_at, outcome, error
        from billing.job_runs
        where job = n.name and outcome <> 'running' and started_at >= j.since
        order by started_at desc
        limit 1
    ) r
    order by r.started_at desc
    limit 1
) last on true
left join lateral (
    select r.started_at
    from unnest(same.names) n (name)
    cross join lateral (
        select started_at
        from billing.job_runs
        where job = n.name and outcome = 'succeeded'
        order by started_at desc
        limit 1
    ) r
    order by r.started_at desc
    limit 1
) good on true
left join lateral (
    select r.started_at from billing.job_runs r where r.job = j.name and r.outcome = 'running' limit 1
) running on true
where j.enabled
    and (
        last.outcome in ('failed', 'interrupted')
        or greatest(good.started_at, running.started_at, j.since) < now() - j.late_after
    );
comment on view billing.alert_jobs is
    'Jobs whose last run failed or was interrupted, and those that have neither succeeded nor begun for too long.';

create view billing.alert_stuck_refunds with (security_invoker = true) as
select refund_id, user_id, mode, amount, payment_intent_id, stripe_refund_id, status, error, created_at, updated_at
from billing.credit_refunds
where mode <> 'credits'
    and (
        (status = 'requested' and updated_at < now() - interval '1 hour')
        or (status = 'requires_action' and updated_at < now() - interval '1 day')
        or (status = 'pending' and updated_at < now() - interval '10 days')
    );
comment on view billing.alert_stuck_refunds is
    'Refunds of money that Stripe was not asked for in an hour, that wait for somebody, or take ten days.';

create view billing.alert_undelivered_events with (security_invoker = true) as
select user_id, event_id, event_no, kind, status, attempts, next_attempt_at, error, created_at, pending_since
from billing.billing_events
where (status = 'dead' or (status = 'pending' and pending_since < now() - interval '15 minutes'))
    and exists (select from billing.jobs where name = 'deliver_events' and enabled);
comment on view billing.alert_undelivered_events is
    'Events that were given up, or have not been delivered in fifteen minutes, while delivery is on.';

grant select on billing.alert_negative_balances, billing.alert_failed_deductions, billing.alert_webhook_errors,
    billing.alert_admin_activity, billing.alert_ledger, billing.alert_lot_sums, billing.alert_jobs,
    billing.alert_stuck_refunds, billing.alert_undelivered_events to billing_monitor;

create index credit_refunds_unfinished on billing.credit_refunds (updated_at)
    where mode <> 'credits' and status in ('requested', 'requires_action', 'pending');

-- What the SQL API returns.

create type billing.job_step as (rows bigint, failures bigint, error text, next jsonb);
comment on type billing.job_step is
    'What one batch of a job did, the first errors of what it could not do, and where the next one begins; null: done.';

create type billing.job as (
    name text, function text, schedule text, batch_size integer, enabled boolean, late_after interval, description text,
    last_started_at timestamptz, last_finished_at timestamptz, last_outcome text, last_rows bigint, last_error text,
    succeeded_at timestamptz, problem text
);
comment on type billing.job is 'A job, its last run, and whether it is late or has failed.';

create type billing.job_run as (
    run_id uuid, job text, started_at timestamptz, finished_at timestamptz, outcome text, rows bigint, failures bigint,
    error text, function text, batch_size integer
);
comment on type billing.job_run is 'A run of a job.';

create type billing.event as (
    user_id uuid, event_id uuid, event_no bigint, kind text, payload jsonb, status text, attempts integer,
    next_attempt_at timestamptz, error text, created_at timestamptz, delivered_at timestamptz
);
comment on type billing.event is 'An event, and how its delivery does.';

create type billing.checkpoint as (
    checkpoint_id uuid, started_at timestamptz, finished_at timestamptz, accounts bigint, entries bigint,
    balance numeric, findings bigint, checkpoint_hash text
);
comment on type billing.checkpoint is 'A checkpoint of the ledger; its hash in hexadecimal.';

create type billing.alert as (alert text, rows bigint, sample jsonb);
comment on type billing.alert is 'How many rows an alert view has, and one of them.';

create type billing.metric as (name text, labels jsonb, value numeric);
comment on type billing.metric is 'One value of a metric.';

create type billing.notifications as (
    user_id uuid, low_balance numeric, is_default boolean, depleted_balance numeric
);
comment on type billing.notifications is 'Below which balances an account is told of.';

create type billing.event_count as (status text, events bigint);
comment on type billing.event_count is 'How many events were set to a status.';

select set_config('role', current_setting('billing.installer'), true);
