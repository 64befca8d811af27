-- Who may do what: billing_api calls the public API and touches no table, a user sees only their own rows, PUBLIC nothing.
\ir payments.psql
-- The guide's alerts go by now().
select set_config('tap.now', clock_timestamp()::text, true) \g /dev/null

create role tap_nobody;
-- What migrations give to a gateway's role for signed-in users, where there is one.
create role tap_user;
grant usage on schema billing to tap_user;
grant execute on function billing_private.current_user_id() to tap_user;
grant select on billing.credit_accounts, billing.credit_ledger, billing.credit_grants, billing.credit_burns,
    billing.credit_holds, billing.user_roles, billing.admin_actions_log, billing.credit_purchases,
    billing.billing_payments, billing.credit_refunds, billing.billing_subscriptions, billing.billing_auto_top_ups,
    billing.user_migrations, billing.user_references, billing.approval_requests
    to tap_user;
grant select (user_id, event_id, event_no, kind, payload, created_at) on billing.billing_events to tap_user;

create temp view routines as
select p.oid, p.oid::regprocedure as signature, p.proname::text collate "default" as name, n.nspname as schema, p.proacl
from pg_proc p join pg_namespace n on n.oid = p.pronamespace and n.nspname in ('billing', 'billing_private');

create temp view rights as
select r.rolname::text collate "default" as role, n.nspname || '.' || c.relname collate "default" as relation, a.privilege
from pg_class c
join pg_namespace n on n.oid = c.relnamespace and n.nspname in ('billing', 'billing_private', 'billing_migrations')
cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) a (privilege)
cross join pg_roles r
where c.relkind in ('r', 'p', 'v', 'm') and r.rolname in ('billing_api', 'billing_monitor', 'tap_nobody')
    and (
        has_table_privilege(r.oid, c.oid, a.privilege)
        or (a.privilege in ('select', 'insert', 'update', 'references')
            and has_any_column_privilege(r.oid, c.oid, a.privilege))
    );

-- Roles.

select is_empty(
    $$
    select rolname from pg_roles
    where rolname in ('billing_owner', 'billing_api', 'billing_monitor')
        and (rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication or rolcanlogin)
    $$,
    'no role of billing has a right of its own over the server'
);
select is_empty(
    $$
    select a.rolname, b.rolname from pg_roles a, pg_roles b
    where a.rolname in ('billing_api', 'billing_monitor')
        and b.rolname in ('billing_owner', 'billing_api', 'billing_monitor')
        and a.oid <> b.oid and pg_has_role(a.oid, b.oid, 'member')
    $$,
    'billing_api and billing_monitor are members of no other role of billing'
);
select is(has_schema_privilege('billing_api', 'billing', 'usage'), true, 'billing_api uses the schema billing');
select is(has_schema_privilege('billing_api', 'billing', 'create'), false, 'billing_api creates nothing in billing');
select is(has_schema_privilege('billing_api', 'billing_private', 'usage'), false, 'billing_api has no way into billing_private');
select is(has_schema_privilege('billing_monitor', 'billing', 'create'), false, 'billing_monitor creates nothing in billing');
select is(
    has_schema_privilege('billing_monitor', 'billing_private', 'usage'), false,
    'billing_monitor has no way into billing_private'
);
select is(has_schema_privilege('tap_nobody', 'billing', 'usage'), false, 'PUBLIC does not use the schema billing');
select is(has_schema_privilege('tap_nobody', 'billing_private', 'usage'), false, 'nor billing_private');

-- Tables.

select is_empty($$select relation, privilege from rights where role = 'billing_api'$$, 'billing_api has no right on any table');
select is_empty($$select relation, privilege from rights where role = 'tap_nobody'$$, 'PUBLIC has no right on any table');
select bag_eq(
    $$select relation, privilege from rights where role = 'billing_monitor'$$,
    $$
    values
        ('billing.admin_actions_log', 'select'), ('billing.credit_accounts', 'select'), ('billing.credit_ledger', 'select'),
        ('billing.stripe_calls', 'select'), ('billing.stripe_events', 'select'), ('billing.user_migrations', 'select'),
        ('billing.billing_events', 'select'), ('billing.credit_refunds', 'select'), ('billing.jobs', 'select'),
        ('billing.job_runs', 'select'), ('billing.ledger_checkpoints', 'select'), ('billing.ledger_findings', 'select'),
        ('billing.bulk_grants', 'select'), ('billing.bulk_grant_rows', 'select'),
        ('billing.approval_requests', 'select'),
        ('billing.alert_admin_activity', 'select'), ('billing.alert_failed_deductions', 'select'),
        ('billing.alert_jobs', 'select'), ('billing.alert_ledger', 'select'), ('billing.alert_lot_sums', 'select'),
        ('billing.alert_negative_balances', 'select'), ('billing.alert_stuck_refunds', 'select'),
        ('billing.alert_undelivered_events', 'select'), ('billing.alert_webhook_errors', 'select')
    $$,
    'billing_monitor reads accounts, ledger, logs, what verifies, how what waits does, and alerts, and has no other right'
);
select bag_eq(
    $$
    select name, a.attname::text collate "default"
    from unnest(array[
        'admin_actions_log', 'billing_events', 'credit_accounts', 'credit_ledger', 'credit_refunds', 'job_runs', 'jobs',
        'ledger_checkpoints', 'ledger_findings', 'stripe_calls', 'stripe_events'
    ]) name
    join pg_attribute a on a.attrelid = ('billing.' || name)::regclass and a.attnum > 0 and not a.attisdropped
    where not has_column_privilege('billing_monitor', a.attrelid, a.attnum, 'select')
    $$,
    $$
    values ('stripe_events', 'payload'), ('stripe_calls', 'request'), ('stripe_calls', 'first_tried_at'),
        ('stripe_calls', 'claimed_at'), ('billing_events', 'payload'), ('credit_refunds', 'requested_by'),
        ('credit_refunds', 'reason'), ('credit_refunds', 'idempotency_key'), ('credit_refunds', 'action_id'),
        ('credit_refunds', 'owe_spent'), ('credit_refunds', 'clawed'), ('credit_refunds', 'owed'),
        ('credit_refunds', 'spent'), ('credit_refunds', 'told')
    $$,
    'but not what an event tells, nor what a call asks for, nor who was refunded why'
);
select is_empty(
    $$
    select c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace
    cross join lateral aclexplode(c.relacl) x
    where n.nspname in ('billing', 'billing_private', 'billing_migrations') and x.grantee = 0
    $$,
    'no relation is granted to PUBLIC'
);
select is_empty(
    $$
    select r.rolname, c.oid::regclass from pg_class c
    cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) a (privilege)
    cross join pg_roles r
    where c.relnamespace = 'legacy_billing'::regnamespace and c.relkind in ('r', 'v')
        and r.rolname in ('billing_api', 'billing_monitor', 'tap_nobody', 'tap_user')
        and has_table_privilege(r.oid, c.oid, a.privilege)
    union all
    select rolname, null from pg_roles
    where rolname in ('billing_api', 'billing_monitor', 'tap_nobody', 'tap_user')
        and has_schema_privilege(oid, 'legacy_billing', 'usage')
    $$,
    'nobody reads the old system through us'
);
select bag_eq(
    $$
    select c.relname::text collate "default", a.privilege from pg_class c
    cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) a (privilege)
    where c.relnamespace = 'legacy_billing'::regnamespace and c.relkind in ('r', 'v', 'S')
        and has_table_privilege('billing_owner', c.oid, a.privilege)
    $$,
    $$
    values ('legacy_customers', 'select'), ('legacy_customers', 'insert'), ('legacy_usage', 'select'),
        ('legacy_usage', 'insert'), ('legacy_purchases', 'select'), ('legacy_purchases', 'insert'),
        ('legacy_purchases', 'update')
    $$,
    'the owner of billing has its three views, and none of its tables'
);
select is_empty(
    $$
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'legacy_billing'::regnamespace and has_function_privilege('tap_nobody', p.oid, 'execute')
    $$,
    'nor does PUBLIC execute anything there'
);

-- Functions.

create temp table api (name text collate "default", grantees text);
insert into api
select name, 'billing_api'
from unnest(array[
    'account_summary', 'adjust_credits', 'admin_grant_credits', 'apply_stripe_event', 'balance_at', 'capture_hold',
    'change_tier', 'check_credits', 'claim_stripe_call', 'compare_with_stripe', 'complete_purchase', 'deduct_credits',
    'deduct_credits_batch', 'deduct_tokens', 'entry_funding', 'fail_stripe_call', 'fail_stripe_event',
    'finish_refund', 'finish_stripe_call', 'get_account', 'get_auto_top_up', 'get_checkout', 'get_purchase',
    'get_migration', 'get_refund', 'get_subscription', 'get_user_role', 'grant_credits', 'hold_credits',
    'legacy_check', 'legacy_credit_balance', 'legacy_purchases', 'legacy_record_purchase', 'legacy_subscription',
    'legacy_track', 'legacy_usage', 'list_accounts',
    'list_actions', 'list_due_stripe_calls', 'list_due_stripe_events', 'list_due_top_ups', 'list_entries',
    'list_grants', 'list_holds', 'list_model_prices', 'list_packages', 'list_payments', 'list_purchases',
    'list_refunds', 'list_stripe_events', 'list_tiers', 'open_account', 'postpone_stripe_call', 'record_purchase',
    'record_stripe_event', 'record_stripe_object', 'release_hold', 'renew_stripe_call', 'request_checkout',
    'request_customer', 'request_refund', 'request_subscription_change', 'request_sync', 'request_top_up',
    'reverse_entry', 'set_account_status', 'set_auto_top_up', 'set_user_role', 'usage_by', 'verify_account',
    'verify_ledger',
    'admin_release_hold', 'approve_request', 'decline_request', 'get_admin', 'get_approval', 'list_admins',
    'list_approvals', 'preview_action', 'preview_approval', 'request_approval', 'withdraw_request',
    'begin_bulk_grant', 'get_bulk_grant', 'list_bulk_grants', 'list_bulk_rows', 'plan_bulk_grant', 'retry_bulk_grant',
    'run_bulk_grant', 'stop_bulk_grant',
    'begin_job', 'checkpoint_ledger', 'claim_event', 'clean_up', 'discard_events', 'end_job', 'expire_credits', 'fail_event',
    'finish_event', 'get_notifications', 'grant_monthly_credits', 'list_alerts', 'list_checkpoints', 'list_due_events',
    'list_events', 'list_events_by_status', 'list_job_runs', 'list_jobs', 'list_metrics', 'note_job', 'record_job_run', 'release_expired_holds',
    'replay_events', 'retry_stripe_events', 'run_job', 'schedule_jobs', 'set_low_balance',
    'balance_history', 'change_config', 'forecast', 'get_user_reference', 'list_user_references', 'read_config',
    'search_accounts', 'set_user_reference'
]) name;

select bag_eq(
    $$select name from routines where has_function_privilege('billing_api', oid, 'execute')$$,
    'select name from api',
    'billing_api executes exactly the public API'
);
select bag_eq(
    $$select name from routines where schema = 'billing' and not has_function_privilege('billing_api', oid, 'execute')$$,
    $$
    values ('apply_config'), ('bootstrap_super_admin'), ('diff_config'), ('get_config'), ('analyze_migration'), ('check_old_views'),
        ('guard_old_system'), ('list_migrated_users'), ('list_old_users'), ('list_users_without_customer'),
        ('migrate_users'), ('plan_migration'), ('rollback_users'), ('verify_migration'), ('set_job')
    $$,
    'configuration, jobs, the first super admin and migrations are the owner''s alone'
);
select bag_eq(
    $$select name from routines where has_function_privilege('billing_monitor', oid, 'execute')$$,
    $$
    values ('current_user_id'), ('list_alerts'), ('list_checkpoints'), ('list_job_runs'), ('list_jobs'),
        ('list_metrics'), ('verify_account'), ('verify_ledger')
    $$,
    'billing_monitor verifies, sees how the jobs do, and its row policies work'
);
select is_empty(
    $$select signature from routines where has_function_privilege('tap_nobody', oid, 'execute')$$,
    'PUBLIC executes nothing'
);
-- An acl that is null means the defaults, and those let PUBLIC execute.
select is_empty('select signature from routines where proacl is null', 'every function says who may execute it');
select is_empty(
    $$
    select r.signature, x.grantee::regrole from routines r cross join lateral aclexplode(r.proacl) x
    where x.is_grantable and x.grantee <> 'billing_owner'::regrole
    $$,
    'nobody but the owner passes rights on'
);
set local role billing_owner;
create function billing.tap_later() returns int language sql as 'select 1';
create function billing_private.tap_later() returns int language sql as 'select 1';
reset role;
select is(
    has_function_privilege('tap_nobody', 'billing.tap_later()', 'execute')
    or has_function_privilege('tap_nobody', 'billing_private.tap_later()', 'execute'), false,
    'a function that forgets its REVOKE is closed to PUBLIC all the same'
);
drop function billing.tap_later(), billing_private.tap_later();

-- What billing_api does.

select billing.bootstrap_super_admin('00000000-0000-0000-0000-0000000000ad') \g /dev/null
select buys(a(), 10, 'pi_a') \g /dev/null
select buys(b(), 10, 'pi_b') \g /dev/null
select billing.hold_credits('00000000-0000-0000-0000-00000000000b', 1) \g /dev/null
select billing.deduct_credits('00000000-0000-0000-0000-00000000000b', 1) \g /dev/null
select billing.request_approval('00000000-0000-0000-0000-0000000000ad', a(), 'adjust_credits', 'r', 1) \g /dev/null
-- Settles, so that there are burns.
select billing.grant_credits('00000000-0000-0000-0000-00000000000b', 1, 'promotion') \g /dev/null

set local role billing_api;
-- Where a policy stands, the planner may refuse its function before the executor refuses the table.
select throws_ok(format('select from billing.%I', name), '42501', null, 'billing_api cannot read ' || name)
from unnest(array[
    'user_roles', 'admin_limits', 'billing_tiers', 'billing_tier_amounts', 'model_prices', 'billing_settings',
    'credit_accounts', 'credit_ledger', 'credit_grants', 'credit_burns', 'credit_holds', 'admin_actions_log',
    'billing_packages', 'billing_customers', 'credit_purchases', 'billing_payments', 'credit_refunds',
    'billing_disputes', 'account_freezes', 'billing_subscriptions', 'billing_checkouts', 'billing_auto_top_ups',
    'stripe_events', 'stripe_calls', 'user_migrations', 'tier_prices', 'jobs', 'job_runs', 'billing_events',
    'approval_requests', 'bulk_grants', 'bulk_grant_rows', 'ledger_checkpoints', 'ledger_heads', 'ledger_findings', 'alert_failed_deductions', 'alert_jobs', 'user_references'
]) name;
select throws_ok(
    'select from legacy_billing.' || name, '42501', 'permission denied for schema legacy_billing',
    'billing_api cannot read ' || name
)
from unnest(array['legacy_customers', 'legacy_usage', 'legacy_purchases', 'customers', 'bought_credit']) name;
select throws_ok(
    'update billing.credit_accounts set balance = 1000', '42501', 'permission denied for table credit_accounts',
    'billing_api cannot write a balance'
);
select throws_ok(
    'truncate billing.credit_ledger', '42501', 'permission denied for table credit_ledger',
    'billing_api cannot truncate the ledger'
);
select throws_ok(
    $$select billing_private.append_entry(null, now(), 'purchase', 1000, 0, 'x')$$, '42501',
    'permission denied for schema billing_private', 'billing_api cannot call a private helper'
);
select throws_ok(
    'select ' || call, '42501', 'permission denied for function ' || split_part(substr(call, 9), '(', 1),
    'billing_api cannot call ' || split_part(call, '(', 1)
)
from unnest(array[
    $$billing.bootstrap_super_admin('00000000-0000-0000-0000-00000000000a')$$, 'billing.get_config()',
    $$billing.diff_config('{}')$$, $$billing.apply_config('{}')$$, 'billing.analyze_migration()',
    'billing.list_old_users()', 'billing.list_migrated_users()', 'billing.list_users_without_customer()',
    'billing.plan_migration(null)', 'billing.migrate_users(null)', 'billing.rollback_users(null)',
    'billing.verify_migration(null)', 'billing.set_job(''clean_up'', false)'
]) call;
select throws_ok(
    'set local session_replication_role = replica', '42501',
    'permission denied to set parameter "session_replication_role"', 'billing_api cannot switch triggers off'
);
-- With the owner's rights: every call of the API works for a role that has none of its own.
select lives_ok(
    'select * from billing.' || call, 'billing_api calls ' || split_part(call, '(', 1)
)
from unnest(array[
    $$open_account('00000000-0000-0000-0000-00000000000c')$$,
    $$get_account('00000000-0000-0000-0000-00000000000a')$$,
    $$check_credits('00000000-0000-0000-0000-00000000000a')$$,
    $$grant_credits('00000000-0000-0000-0000-00000000000a', 10, 'promotion')$$,
    $$deduct_credits('00000000-0000-0000-0000-00000000000a', 1)$$,
    $$deduct_tokens('00000000-0000-0000-0000-00000000000a', 'gpt-4o', 1000, 1000)$$,
    $$deduct_credits_batch('[{"user_id": "00000000-0000-0000-0000-00000000000a", "amount": 1}]')$$,
    $$capture_hold('00000000-0000-0000-0000-00000000000a',
        (billing.hold_credits('00000000-0000-0000-0000-00000000000a', 1)).hold_id, 1)$$,
    $$release_hold('00000000-0000-0000-0000-00000000000a',
        (billing.hold_credits('00000000-0000-0000-0000-00000000000a', 1)).hold_id)$$,
    $$hold_credits('00000000-0000-0000-0000-00000000000c', 1)$$,
    $$adjust_credits('00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-00000000000a', 1, 'r')$$,
    $$admin_grant_credits('00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-00000000000a', 1, 'r')$$,
    $$reverse_entry('00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-00000000000a', 3, 'r')$$,
    $$change_tier('00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-00000000000a', 'tier_2_20', 'r')$$,
    $$set_account_status('00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-00000000000a', 'active', 'r')$$,
    $$set_user_role('00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-0000000000ae', 'admin')$$,
    $$get_user_role('00000000-0000-0000-0000-00000000000a')$$,
    $$account_summary('00000000-0000-0000-0000-00000000000a')$$,
    $$balance_at('00000000-0000-0000-0000-00000000000a', now())$$,
    $$entry_funding('00000000-0000-0000-0000-00000000000a', 3)$$,
    $$usage_by('00000000-0000-0000-0000-00000000000a', now() - interval '1 day', now())$$,
    $$list_entries('00000000-0000-0000-0000-00000000000a')$$, $$list_grants('00000000-0000-0000-0000-00000000000a')$$,
    $$list_holds('00000000-0000-0000-0000-00000000000a')$$, 'list_tiers()', 'list_model_prices()', 'list_accounts()',
    'list_actions()', $$verify_account('00000000-0000-0000-0000-00000000000a')$$, 'verify_ledger()'
]) call;
select lives_ok('select * from billing.' || call, 'billing_api calls ' || split_part(call, '(', 1))
from unnest(array[
    $$plan_bulk_grant('00000000-0000-0000-0000-0000000000ad', 'b', '[{"user_id": "00000000-0000-0000-0000-00000000000a", "amount": 1}]')$$,
    $$begin_bulk_grant('00000000-0000-0000-0000-0000000000ad', 'b', '[{"user_id": "00000000-0000-0000-0000-00000000000a", "amount": 1}]', 'r')$$,
    'list_bulk_grants()', 'list_bulk_rows((select bulk_id from billing.list_bulk_grants()))',
    'get_bulk_grant((select bulk_id from billing.list_bulk_grants()))',
    $$run_bulk_grant('00000000-0000-0000-0000-0000000000ad', (select bulk_id from billing.list_bulk_grants()))$$,
    $$retry_bulk_grant('00000000-0000-0000-0000-0000000000ad', (select bulk_id from billing.list_bulk_grants()), 'r')$$,
    $$stop_bulk_grant('00000000-0000-0000-0000-0000000000ad', (select bulk_id from billing.list_bulk_grants()), 'r')$$
]) call;
select lives_ok('select * from billing.' || call, 'billing_api calls ' || split_part(call, '(', 1))
from unnest(array[
    $$set_low_balance('00000000-0000-0000-0000-00000000000a', 5)$$,
    $$get_notifications('00000000-0000-0000-0000-00000000000a')$$,
    $$list_events('00000000-0000-0000-0000-00000000000a')$$, 'list_due_events()', 'list_events_by_status()',
    $$claim_event('00000000-0000-0000-0000-00000000000a',
        (select event_id from billing.list_events('00000000-0000-0000-0000-00000000000a', p_limit => 1)))$$,
    $$fail_event('00000000-0000-0000-0000-00000000000a',
        (select event_id from billing.list_events('00000000-0000-0000-0000-00000000000a', p_limit => 1)), 'e')$$,
    $$finish_event('00000000-0000-0000-0000-00000000000a',
        (select event_id from billing.list_events('00000000-0000-0000-0000-00000000000a', p_limit => 1)))$$,
    'replay_events()', 'discard_events()',
    'grant_monthly_credits()', 'expire_credits()', 'release_expired_holds()', 'retry_stripe_events()',
    'checkpoint_ledger()', 'clean_up()', 'list_checkpoints()', 'list_jobs()', 'list_job_runs()',
    $$begin_job('clean_up')$$, 'note_job(gen_random_uuid(), 1)',
    'end_job((select run_id from billing.list_job_runs(''clean_up'')))', $$record_job_run('stripe_calls', now(), 1)$$,
    'list_alerts()', 'list_metrics()'
]) call;
select lives_ok('select * from billing.' || call, 'billing_api calls ' || split_part(call, '(', 1))
from unnest(array[
    $$set_user_reference('00000000-0000-0000-0000-00000000000a', 'ann@example.com')$$,
    $$set_user_reference('00000000-0000-0000-0000-00000000000b', 'bob@example.com')$$,
    $$get_user_reference('00000000-0000-0000-0000-00000000000a')$$,
    $$list_user_references(array['00000000-0000-0000-0000-00000000000a'::uuid])$$, 'search_accounts(''ann'')',
    $$forecast('00000000-0000-0000-0000-00000000000a')$$,
    $$balance_history('00000000-0000-0000-0000-00000000000a', now() - interval '1 day', now())$$,
    $$read_config('00000000-0000-0000-0000-0000000000ad')$$,
    $$change_config('00000000-0000-0000-0000-0000000000ad', 'packages', '20', null,
        '{"amount": 20, "price_cents": 2000}', 'r')$$
]) call;
-- In both systems: a lives in this one, ee in the old one.
select lives_ok(
    format('select * from billing.' || call, u), format('billing_api calls %s for %s', split_part(call, '(', 1), u)
)
from unnest(array['00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-0000000000ee']) u
cross join unnest(array[
    'get_migration(%L)', 'legacy_track(%L, ''gpt-4o'', 10, 10)', 'legacy_check(%L)', 'legacy_usage(%L)',
    'legacy_subscription(%L)', 'legacy_credit_balance(%L)', 'legacy_record_purchase(%1$L, 1, 100, ''pi_%1$s'')',
    'legacy_purchases(%L)'
]) call;
reset role;

insert into legacy_billing.customers (user_id) values ('00000000-0000-0000-0000-0000000000e7');
select billing.migrate_users(array['00000000-0000-0000-0000-0000000000e7']::uuid[]) \g /dev/null
select buys(e(), 10, 'pi_e') \g /dev/null
select billing.open_account(d()) \g /dev/null
select customer(u, 'cus_' || right(u::text, 1)) from unnest(array[a(), b(), d(), e()]) u \g /dev/null
select billing.record_stripe_object(stripe_subscription('sub_' || u, 'cus_' || u, 'tier_2_20'))
from unnest(array['a', 'b', 'e']) u \g /dev/null
select billing.set_auto_top_up(u, false, 1, '10', 10) from unnest(array[a(), b()]) u \g /dev/null
select billing.request_refund(admin(), u, 1, 'r', true, 'pi_' || right(u::text, 1)) from unnest(array[a(), b()]) u
\g /dev/null
select billing.change_tier(admin(), e(), 'buyer', 'r') \g /dev/null
select billing.record_stripe_event(stripe_event('evt_' || n, 'payment_intent.succeeded', stripe_intent('pi_' || n, 1000)))
from generate_series(1, 2) n \g /dev/null
select purchase_id as purchase, call_id as purchase_call from billing.record_purchase(e(), 20) \gset
select refund_id as refund from billing.request_refund(admin(), e(), 1, 'r', true, 'pi_e') \gset
select checkout_id as checkout, call_id as checkout_call from billing.request_checkout(d(), 'tier_2_20') \gset
select call_id as sync_call from billing.request_sync(e()) \gset
create temp table payment_calls as
select call
from unnest(array[
    'request_customer(e())', 'record_purchase(e(), 10)', 'list_packages()', 'list_purchases(e())', 'list_refunds()',
    'list_payments(e())', 'request_refund(admin(), e(), 1, ''r'')', 'request_checkout(d(), ''tier_6_50'')',
    'request_subscription_change(e(), ''cancel'')', 'request_sync(e())', 'get_subscription(e())',
    'set_auto_top_up(e(), true, 100, ''10'', 10)', 'get_auto_top_up(e())', 'list_due_top_ups()', 'request_top_up(e())',
    'list_due_stripe_events()', 'list_stripe_events()', 'apply_stripe_event(''evt_1'')',
    'fail_stripe_event(''evt_2'', ''e'')', 'list_due_stripe_calls()',
    'compare_with_stripe(''[]'', now() - interval ''1 day'', now())',
    format('get_purchase(e(), %L)', :'purchase'), format('get_refund(%L)', :'refund'),
    format('get_checkout(d(), %L)', :'checkout'),
    format('claim_stripe_call(%L)', :'sync_call'), format('postpone_stripe_call(%L, ''e'')', :'sync_call'),
    format('renew_stripe_call(%L)', :'sync_call'), format('finish_stripe_call(%L, ''{"data": []}'')', :'sync_call'),
    format('fail_stripe_call(%L, ''e'')', :'checkout_call'),
    format('record_stripe_event(%L)', stripe_event('evt_3', 'refund.created', stripe_refund('re_3', 'pi_3', 1))),
    format('record_stripe_object(%L)', stripe_dispute('dp_3', 'pi_3', 1)),
    format('complete_purchase(%L, %L)', :'purchase', stripe_intent('pi_4', 2000, :'purchase')),
    format('finish_refund(%L, %L)', :'refund', stripe_refund('re_e', 'pi_e', 100, :'refund'))
]) call;
grant select on payment_calls to billing_api;

set local role billing_api;
select lives_ok('select * from billing.' || call, 'billing_api calls ' || split_part(call, '(', 1)) from payment_calls;
reset role;
select is_empty(
    $$
    select path from billing_migrations.functions
    where path like 'db/functions/payments/%'
        and not exists (
            select from payment_calls where starts_with(call, split_part(split_part(path, '/', 4), '.', 1) || '(')
        )
    $$,
    'every function of payments was called'
);

-- A signed-in user.

set local role tap_user;
select throws_ok(
    $$select billing.deduct_credits('00000000-0000-0000-0000-00000000000b', 1)$$, '42501',
    'permission denied for function deduct_credits',
    'R21: a signed-in user cannot execute a debit, of their own account or another''s'
);
select throws_ok(
    $$select billing.deduct_tokens('00000000-0000-0000-0000-00000000000b', 'gpt-4o', 1, 1)$$, '42501',
    'permission denied for function deduct_tokens', 'R21: nor a debit by tokens'
);
select throws_ok(
    $$select billing.deduct_credits_batch('[]')$$, '42501', 'permission denied for function deduct_credits_batch',
    'R21: nor a batch of them'
);
select throws_ok(
    $$select billing.adjust_credits('00000000-0000-0000-0000-0000000000ad', '00000000-0000-0000-0000-00000000000a', 1, 'r')$$,
    '42501', 'permission denied for function adjust_credits', 'R21: nor act in an admin''s name'
);
select throws_ok(
    $$select billing.grant_credits('00000000-0000-0000-0000-00000000000a', 1, 'promotion')$$, '42501',
    'permission denied for function grant_credits', 'R21: nor grant'
);
select throws_ok(
    $$select billing.record_stripe_object('{"object": "payment_intent"}')$$, '42501',
    'permission denied for function record_stripe_object', 'R21: nor tell what Stripe would'
);
select throws_ok(
    $$update billing.credit_accounts set balance = 1000$$, '42501', 'permission denied for table credit_accounts',
    'a signed-in user writes no table'
);

set local request.jwt.claims to '{"sub": "00000000-0000-0000-0000-00000000000a", "role": "authenticated"}';
select results_eq(
    'select distinct user_id from billing.' || name,
    $$values ('00000000-0000-0000-0000-00000000000a'::uuid)$$,
    'with a token of user A, ' || name || ' shows A''s rows and no other'
)
from unnest(array[
    'credit_accounts', 'credit_ledger', 'credit_grants', 'credit_holds', 'credit_burns', 'credit_purchases',
    'billing_payments', 'credit_refunds', 'billing_subscriptions', 'billing_auto_top_ups', 'user_migrations',
    'billing_events', 'user_references'
]) name;
select throws_ok(
    'select status from billing.billing_events', '42501', 'permission denied for table billing_events',
    'nor how its delivery does'
);
select is_empty('select user_id from billing.user_roles', 'and no role of somebody else');
select is_empty('select target_user_id from billing.admin_actions_log', 'the admin log shows a user nothing');
select is_empty('select user_id from billing.approval_requests', 'nor do requests for approvals, of their own account');
set local request.jwt.claims to '{"sub": "00000000-0000-0000-0000-0000000000ad"}';
select results_eq('select role from billing.user_roles', $$values ('super_admin')$$, 'a user sees their own role');
set local request.jwt.claims to '';
select is_empty('select user_id from billing.credit_accounts', 'without a token there are no rows');
select is_empty('select user_id from billing.billing_payments', 'of payments neither');
set local request.jwt.claims to '{"role": "anon"}';
select is_empty('select user_id from billing.credit_ledger', 'nor with a token that names no user');
reset role;
reset request.jwt.claims;
select is_empty(
    $$
    select c.oid::regclass, p.polname
    from pg_policy p join pg_class c on c.oid = p.polrelid
    where c.relnamespace = 'billing'::regnamespace
        and (
            pg_get_expr(p.polqual, p.polrelid) not in ('(user_id = billing_private.current_user_id())', 'true')
            or (pg_get_expr(p.polqual, p.polrelid) = 'true' and p.polroles <> array['billing_monitor'::regrole::oid])
            or p.polcmd <> 'r' or not p.polpermissive
        )
    $$,
    'policies compare with the token''s user, without subqueries; only billing_monitor reads all'
);

-- Alerts.

select billing.deduct_credits('00000000-0000-0000-0000-00000000000a', 100000) \g /dev/null
select matches(
    (
        select setting from pg_db_role_setting s, unnest(s.setconfig) setting
        where s.setdatabase = (select oid from pg_database where datname = current_database())
            and s.setrole = 0 and setting like 'search_path=%'
    ),
    '^search_path=.*public, billing(,|$)', 'the database finds the tables of billing after the application''s own'
);
select is(
    (select setconfig::text from pg_db_role_setting where setrole = 'billing_monitor'::regrole and setdatabase = 0),
    '{"search_path=\"$user\", public, billing"}', 'billing_monitor finds them wherever it logs in'
);

set local role billing_monitor;
select isnt_empty('select user_id from billing.credit_accounts', 'billing_monitor really sees an account');
select isnt_empty('select user_id from billing.credit_ledger', 'billing_monitor really sees an entry');
select isnt_empty('select action_id from billing.admin_actions_log', 'billing_monitor really sees an admin''s action');
select isnt_empty(
    'select from billing.user_migrations where status = ''migrated''', 'billing_monitor really sees a migration'
);
select isnt_empty('select approval_id from billing.approval_requests', 'billing_monitor really sees a request');
select throws_ok(
    'select from billing.credit_holds', '42501', 'permission denied for table credit_holds',
    'billing_monitor does not read holds'
);
select throws_ok(
    $$insert into billing.admin_actions_log select * from billing.admin_actions_log$$, '42501',
    'permission denied for table admin_actions_log', 'billing_monitor writes nothing'
);
select throws_ok(
    format('select %s from billing.%s', split_part(column_name, '.', 2), split_part(column_name, '.', 1)), '42501',
    'permission denied for table ' || split_part(column_name, '.', 1), 'billing_monitor does not read ' || column_name
)
from unnest(array[
    'stripe_events.payload', 'stripe_calls.request', 'user_references.reference', 'credit_purchases.user_id', 'credit_refunds.reason',
    'credit_refunds.requested_by', 'credit_refunds.idempotency_key', 'billing_events.payload', 'ledger_heads.entry_no'
]) column_name;
select results_eq(
    'select event_id, status, attempts, error from billing.stripe_events order by event_id',
    $$
    values ('evt_1', 'ignored', 0, null), ('evt_2', 'pending', 1, 'e'), ('evt_3', 'pending', 0, null)
    $$,
    'billing_monitor really sees how events do'
);
select isnt_empty(
    'select call_id, kind, status, tries, error from billing.stripe_calls where status = ''failed''',
    'billing_monitor really sees a call that failed'
);
select is_empty('select * from billing.verify_ledger()', 'billing_monitor can verify the ledger');
select is_empty(
    $$
-- Alert on negative balances
SELECT * FROM credit_accounts WHERE balance < 0;
    $$,
    'the guide''s alert on negative balances runs as it is written'
);
select results_eq(
    $$
-- Alert on failed deductions in last hour
SELECT COUNT(*) FROM credit_ledger
WHERE type = 'usage'
AND created_at > NOW() - INTERVAL '1 hour'
AND amount = 0;
    $$,
    'values (1::bigint)', 'the guide''s alert on failed deductions counts one, for billing_monitor'
);
set local role billing_owner;
select results_eq(
    $$
SELECT COUNT(*) FROM credit_ledger
WHERE type = 'usage'
AND created_at > NOW() - INTERVAL '1 hour'
AND amount = 0;
    $$,
    'values (1::bigint)', 'and for the owner'
);
select is_empty('SELECT * FROM credit_accounts WHERE balance < 0;', 'as does the one on negative balances');
reset role;

create table public.credit_accounts (balance numeric);
insert into public.credit_accounts values (-1);
select results_eq(
    'SELECT * FROM credit_accounts WHERE balance < 0;', 'values (-1::numeric)',
    'a table of the application''s own with the same name wins'
);

select * from finish();
rollback;
