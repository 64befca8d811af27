-- What holds for every table, type and function of billing and billing_private, those still to come included.
begin;
select * from no_plan();

create temp view routines as
select n.nspname as schema, p.proname as name, p.oid::regprocedure as signature, l.lanname as language, p.*
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace and n.nspname in ('billing', 'billing_private')
join pg_language l on l.oid = p.prolang;

create temp view relations as
select n.nspname as schema, c.oid::regclass as relation, c.*
from pg_class c
join pg_namespace n on n.oid = c.relnamespace and n.nspname in ('billing', 'billing_private');

create temp view columns as
select
    r.oid, r.relation, r.relkind, a.attnum, a.attname, a.attidentity, a.atttypid::regtype as declared,
    -- What stands behind a domain.
    coalesce(nullif(t.typbasetype, 0), a.atttypid)::regtype as type,
    case when t.typbasetype <> 0 then t.typtypmod else a.atttypmod end as typmod
from relations r
join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
where r.relkind in ('r', 'p', 'v', 'm', 'c');

-- The tables that are meant to be distributed by their user.
create temp view user_tables as
select ('billing.' || name)::regclass as relation
from unnest(array['credit_accounts', 'credit_ledger', 'credit_grants', 'credit_burns', 'credit_holds']) name;

-- Functions.

select cmp_ok((select count(*) from routines where schema = 'billing'), '>', 30::bigint, 'the public functions are there');
select cmp_ok((select count(*) from relations where relkind = 'r'), '>', 12::bigint, 'the tables are there');

select is_empty(
    'select signature from routines where schema = ''billing'' and prokind = ''f'' and language <> ''plpgsql''',
    'a public function is PL/pgSQL'
);
select is_empty(
    'select signature from routines where schema = ''billing'' and prokind = ''f'' and not prosecdef',
    'a public function is SECURITY DEFINER'
);
select is_empty(
    $$
    select signature from routines
    where prosecdef and not coalesce(proconfig, '{}') @> '{search_path=pg_temp}'
    $$,
    'a SECURITY DEFINER function looks into pg_catalog, then pg_temp: an empty path looks into pg_temp first, for types'
);
select is_empty(
    $$
    select signature, setting from routines cross join lateral unnest(proconfig) setting
    where prosecdef and setting not in ('search_path=pg_temp', 'jit=off', 'plan_cache_mode=force_custom_plan')
    $$,
    'and sets nothing else but how its statements are planned'
);
select is_empty(
    'select signature from routines where schema = ''billing_private'' and prosecdef',
    'a private helper has no rights of its own'
);
select is_empty(
    'select signature from routines where prokind = ''p'' and (prosecdef or proconfig is not null)',
    'a procedure is SECURITY INVOKER and sets nothing: only that can commit'
);
select is_empty(
    'select signature from routines where obj_description(oid, ''pg_proc'') !~ ''\S'' or obj_description(oid, ''pg_proc'') is null',
    'every function has a comment'
);
select is_empty(
    'select schema, name from routines group by schema, name having count(*) > 1',
    'R05: no function has two signatures'
);
select is_empty(
    $$
    select r.signature, a.name
    from routines r
    cross join lateral unnest(r.proargnames, r.proargmodes) a (name, mode)
    where coalesce(a.mode, 'i') in ('i', 'b', 'v') and a.name !~ '^p_[a-z_]+$'
    $$,
    'every argument is named, and its name begins with p_'
);
select is_empty(
    'select signature from routines where pronargs > 0 and proargnames is null',
    'no argument is without a name'
);
select is_empty(
    'select signature from routines where proisstrict',
    'no function is STRICT: it would answer null in silence where an argument is missing'
);
select results_eq(
    $$
    select r.name::text collate "default", format_type(r.prorettype, null)
    from routines r
    join pg_type t on t.oid = r.prorettype
    left join pg_class c on c.oid = t.typrelid
    where r.schema = 'billing' and r.prokind = 'f' and r.prorettype <> 'trigger'::regtype
        and c.relkind is distinct from 'c'
    order by 1
    $$,
    $$
    values ('balance_at', 'numeric'), ('get_config', 'jsonb'), ('get_user_reference', 'text'), ('get_user_role', 'text'),
        ('read_config', 'jsonb'), ('record_stripe_object', 'boolean')
    $$,
    'a public function returns a named composite type; six return one value'
);
select results_eq(
    $$select name::text collate "default" from routines where schema = 'billing' and prorettype = 'trigger'::regtype$$,
    $$values ('guard_old_system')$$, 'one is a trigger, for the tables of an old system'
);
select is_empty(
    $$
    select r.signature, t.typname
    from routines r
    join pg_type t on t.oid = r.prorettype
    where r.schema = 'billing' and t.typnamespace not in ('pg_catalog'::regnamespace, 'billing'::regnamespace)
    $$,
    'the types that public functions return are public'
);
-- As a condition of its own or one of several; comments may speak of others.
select results_eq(
    $$
    select schema || '.' || name collate "default" from routines
    where regexp_replace(prosrc, '--[^\n]*', '', 'g') ~* '\mwhen\M[^;]*\mothers\M[^;]*\mthen\M'
    $$,
    $$values ('billing.run_job')$$,
    'R09: nothing catches every error, but what records that a job failed'
);
select is_empty(
    $$select signature from routines where prosrc ~* 'constraint_name'$$,
    'no function goes by a constraint''s name: shards append a suffix'
);
select is_empty(
    $$
    select signature from routines
    -- Without texts and comments: money is a mode of refunds too.
    where regexp_replace(prosrc, '''[^'']*''|--[^\n]*', '', 'g') ~* '\m(float4|float8|real|double precision|money)\M'
    $$,
    'no function computes with floats'
);
select is_empty(
    $$select signature from routines where prosrc ~* '\mfor\s+update\M' and prosrc !~* '\mfor\s+no\s+key\s+update\M'$$,
    'a lock of a row leaves its key alone'
);

-- Files.

\set unmirrored `for f in db/functions/*/*.sql; do d=$(basename $(dirname $f)); [ $d = private ] || [ -e db/tests/$d/$(basename $f) ] || echo $f; done`
\set orphans `for f in $(find db/tests -mindepth 2 -name '*.sql'); do d=$(basename $(dirname $f)); [ -e db/functions/$d/$(basename $f) ] || echo $f; done`
\set scaled `grep -rniE '(numeric|decimal|dec) *\(' db/functions db/migrations || true`

select is(:'unmirrored'::text, '', 'every public function has a test of its path');
select is(:'orphans'::text, '', 'every test of a function has its function');
select is(:'scaled'::text, '', 'R02: no source names a numeric with a scale: an argument''s would be ignored, a variable''s would round');
select is_empty(
    $$
    select r.signature, m.path
    from routines r
    left join billing_migrations.functions m on m.signature = r.signature::text
    where r.schema = 'billing' and m.path is distinct from 'db/functions/' || split_part(m.path, '/', 3) || '/' || r.name || '.sql'
    $$,
    'a public function''s path is its name'
);

-- Tables and types.

select is_empty(
    $$
    select 'schema', nspname from pg_namespace
    where nspname in ('billing', 'billing_private') and nspowner <> 'billing_owner'::regrole
    union all
    select 'relation', relation::text from relations where relowner <> 'billing_owner'::regrole
    union all
    select 'function', signature::text from routines where proowner <> 'billing_owner'::regrole
    union all
    select 'type', t.oid::regtype::text
    from pg_type t join pg_namespace n on n.oid = t.typnamespace
    where n.nspname in ('billing', 'billing_private') and t.typowner <> 'billing_owner'::regrole
    $$,
    'billing_owner owns everything'
);
select is_empty(
    $$select relation, attname from columns where type = 'numeric'::regtype and typmod <> -1$$,
    'R01: no numeric column or member has a scale that would round before a CHECK sees the value'
);
select is_empty(
    $$
    select relation, attname, declared from columns
    where relkind in ('r', 'c') and type not in (
        'boolean', 'integer', 'bigint', 'numeric', 'text', 'uuid', 'jsonb', 'bytea', 'date', 'interval',
        'timestamptz', 'text[]'
    )
    $$,
    'columns are of few types: no float, no varchar, no time without a zone'
);
select is_empty(
    $$
    select relation from relations
    where relkind in ('r', 'p', 'v', 'm', 'c') and coalesce(obj_description(oid, 'pg_class'), '') !~ '\S'
        and not (relkind = 'c' and exists (
            select from pg_type t where t.typrelid = relations.oid and obj_description(t.oid, 'pg_type') ~ '\S'
        ))
    $$,
    'every table, view and composite type has a comment'
);
select is_empty(
    $$
    select t.oid::regtype from pg_type t join pg_namespace n on n.oid = t.typnamespace
    where n.nspname in ('billing', 'billing_private') and t.typtype in ('d', 'e')
        and coalesce(obj_description(t.oid, 'pg_type'), '') !~ '\S'
    $$,
    'every domain has a comment'
);
select is_empty(
    $$
    select relation, attname, declared from columns
    where relkind = 'c' and declared <> type
    $$,
    'the types that functions return are of plain types, which every client knows'
);
select is_empty(
    $$
    select relation, attname from columns
    where relkind = 'r' and col_description(oid, attnum) is null
        -- These names say it all, with their table's comment.
        and attname not in (
            'user_id', 'target_user_id', 'hold_id', 'name', 'display_name', 'role', 'tier', 'model', 'section', 'type',
            'action', 'source', 'status', 'outcome', 'reason', 'description', 'reference_type', 'reference_id',
            'idempotency_key', 'metadata', 'details', 'content', 'amount', 'balance_after', 'monthly_credits',
            'can_purchase_credits', 'priority', 'grant_no', 'from_period', 'from_used', 'to_used', 'input_per_million',
            'cached_input_per_million', 'output_per_million', 'multiplier', 'created_at', 'ended_at', 'granted_at',
            'expires_at', 'applied_at', 'purchase_id', 'refund_id', 'event_id', 'run_id', 'job', 'started_at',
            'finished_at', 'received_at', 'processed_at', 'delivered_at', 'requested_by', 'payload', 'error', 'kind'
        )
    $$,
    'every column whose name does not say it all has a comment'
);
select is_empty(
    $$
    select distinct c.relation from columns c join relations r on r.oid = c.oid
    where c.relkind = 'r' and c.attname in ('user_id', 'target_user_id') and not r.relrowsecurity
    $$,
    'every table with a user''s rows has row level security'
);
select is_empty(
    $$
    select t.oid::regtype, p.oid::regprocedure
    from pg_type t
    join pg_proc p on p.proname = t.typname and p.pronamespace = 'pg_catalog'::regnamespace and p.pronargs = 1
    where t.typnamespace = 'billing'::regnamespace
    $$,
    'no type is named like a function of PostgreSQL: where billing is in the path, f(''x'') would be a cast to it'
);
select is_empty('select relation from relations where relforcerowsecurity', 'none forces it on the owner');
select is_empty(
    $$select relation from relations where relkind = 'v' and not coalesce(reloptions, '{}') @> '{security_invoker=true}'$$,
    'views ask for their reader''s rights'
);
select is_empty(
    $$
    select conrelid::regclass, conname from pg_constraint
    where connamespace in ('billing'::regnamespace, 'billing_private'::regnamespace)
        and contype in ('c', 'u', 'x') and (conname ~ '_(check|key|excl)\d*$' or conname !~ '^[a-z0-9_]+$')
    $$,
    'a constraint is named as the rule that it states'
);
select is_empty(
    $$
    select conrelid::regclass, conname from pg_constraint
    where connamespace in ('billing'::regnamespace, 'billing_private'::regnamespace) and not convalidated
    $$,
    'every constraint is validated'
);
select is_empty(
    $$select c.relation, c.attname from columns c where c.attidentity <> '' and c.relation in (select relation from user_tables)
    union all
    select relation, null from relations where relkind = 'S'$$,
    'no number crosses users: there is no sequence and no identity column'
);

-- The old system is not ours to judge, but for the three views that everything else goes by.

create temp view legacy_views as
select c.oid, c.relname::text collate "default" as name, c.relowner, c.reloptions
from pg_class c
where c.relnamespace = 'legacy_billing'::regnamespace and c.relname like 'legacy\_%' and c.relkind in ('v', 'r');

select results_eq(
    $$
    select v.name, string_agg(a.attname || ' ' || a.atttypid::regtype, ', ' order by a.attnum) collate "default"
    from legacy_views v join pg_attribute a on a.attrelid = v.oid and a.attnum > 0
    group by v.name
    order by v.name
    $$,
    $$
    values
        (
            'legacy_customers',
            'user_id uuid, stripe_customer_id text, stripe_subscription_id text, subscription_status text, '
            'price_id text, tier text, current_period_start timestamp with time zone, '
            'current_period_end timestamp with time zone, monthly_limit numeric, bought_credit numeric, '
            'created_at timestamp with time zone'
        ),
        (
            'legacy_purchases',
            'purchase_id text, user_id uuid, amount numeric, price_cents bigint, status text, '
            'stripe_payment_intent_id text, created_at timestamp with time zone, completed_at timestamp with time zone'
        ),
        (
            'legacy_usage',
            'usage_id text, user_id uuid, model text, prompt_tokens bigint, completion_tokens bigint, '
            'cached_tokens bigint, cost numeric, paid_from_credit numeric, request_key text, '
            'created_at timestamp with time zone'
        )
    $$,
    'the old system is three views, of these columns'
);
select is_empty(
    $$
    select name from legacy_views
    where relowner = 'billing_owner'::regrole or coalesce(reloptions, '{}') @> '{security_invoker=true}'
    $$,
    'they are the installer''s, and read with the installer''s rights: no row level security hides a user from them'
);
select is_empty(
    $$select name from legacy_views where coalesce(obj_description(oid, 'pg_class'), '') !~ '\S'$$, 'each has a comment'
);
select is_empty(
    $$
    select signature, m[1] from routines cross join lateral regexp_matches(prosrc, 'legacy_billing\.(\w+)', 'g') m
    where m[1] not in (select name from legacy_views)
    $$,
    'no function knows of the old system but by them'
);
select is_empty(
    $$
    select oid::regprocedure from pg_proc
    where pronamespace = 'legacy_billing'::regnamespace and prosecdef
        and coalesce(proconfig, '{}') <> '{search_path=pg_temp}'
    $$,
    'what saves into it with the installer''s rights looks into pg_catalog, then pg_temp'
);
select results_eq(
    $$
    select tgrelid::regclass::text collate "default", tgenabled::text, tgtype::integer & 127
    from pg_trigger where tgfoid = 'billing.guard_old_system()'::regprocedure
    order by 1
    $$,
    -- The bits of a row's trigger before INSERT and UPDATE.
    $$
    values ('legacy_billing.bought_credit', 'O', 1 | 2 | 4 | 16), ('legacy_billing.purchases', 'O', 1 | 2 | 4 | 16),
        ('legacy_billing.usage_records', 'O', 1 | 2 | 4 | 16)
    $$,
    'usage, purchases and credit of the old system are guarded, row by row'
);

-- One user per key.

select is_empty(
    $$
    select i.indexrelid::regclass
    from pg_index i
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid in (select relation from user_tables) and i.indisunique and a.attname <> 'user_id'
    union all
    select i.indexrelid::regclass from pg_index i
    where i.indrelid in (select relation from user_tables) and i.indisunique and i.indkey[0] = 0
    $$,
    'user_id is the first column of every key and unique index of the user tables'
);
select is(
    (select count(*) from pg_index where indisprimary and indrelid in (select relation from user_tables)), 5::bigint,
    'each of them has a primary key'
);
select is_empty(
    $$
    select k.conrelid::regclass, k.conname
    from pg_constraint k
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
    join pg_attribute f on f.attrelid = k.confrelid and f.attnum = k.confkey[1]
    where k.contype = 'f' and k.connamespace = 'billing'::regnamespace
        and k.conrelid in (select relation from user_tables)
        and k.confrelid <> 'billing.billing_tiers'::regclass
        and not (a.attname = 'user_id' and f.attname = 'user_id' and k.confrelid in (select relation from user_tables))
    $$,
    'no foreign key crosses users'
);
select is_empty(
    $$
    select k.conrelid::regclass, k.conname from pg_constraint k
    where k.contype = 'f' and k.conrelid not in (select relation from user_tables)
        and k.confrelid in (select relation from user_tables)
        and k.conrelid::regclass::text ~ '(credit_purchases|credit_refunds|stripe_events|user_roles|admin_actions_log)$'
    $$,
    'what is locked by statements of its own has no foreign key to an account'
);

-- The hot row.

select is_empty(
    $$
    select i.indexrelid::regclass, hot.name
    from pg_index i
    cross join unnest(array[
        'balance', 'used_total', 'entry_count', 'chain_head', 'updated_at', 'held', 'debt', 'settled_total',
        'alert_below'
    ]) hot (name)
    where i.indrelid = 'billing.credit_accounts'::regclass and pg_get_indexdef(i.indexrelid) ~ ('\m' || hot.name || '\M')
    $$,
    'no index of credit_accounts, its predicate included, mentions a column that a deduction changes'
);
select is(
    (select reloptions from pg_class where oid = 'billing.credit_accounts'::regclass), '{fillfactor=50}',
    'credit_accounts leaves room on its pages'
);
select is_empty(
    $$select tgname from pg_trigger where tgrelid = 'billing.credit_accounts'::regclass and not tgisinternal$$,
    'no trigger runs on credit_accounts'
);

select billing.open_account('00000000-0000-0000-0000-00000000000a') \g /dev/null
create temp table updates as
select
    pg_stat_get_xact_tuples_updated('billing.credit_accounts'::regclass) as all_before,
    pg_stat_get_xact_tuples_hot_updated('billing.credit_accounts'::regclass) as hot_before;
select billing.deduct_credits('00000000-0000-0000-0000-00000000000a', 0.5) \g /dev/null
select billing.deduct_credits(
    '00000000-0000-0000-0000-00000000000a', 0.25, 'a call', 'call', '1', 'key', '{"a": 1}'
) \g /dev/null
select billing.deduct_tokens('00000000-0000-0000-0000-00000000000a', 'gpt-4o', 1000, 100) \g /dev/null
select billing.deduct_credits('00000000-0000-0000-0000-00000000000a', 999) \g /dev/null
select is(
    pg_stat_get_xact_tuples_updated('billing.credit_accounts'::regclass) - all_before, 4::bigint,
    'a deduction, a refused one too, is one update of the account'
) from updates;
select is(
    pg_stat_get_xact_tuples_hot_updated('billing.credit_accounts'::regclass) - hot_before, 4::bigint,
    'and a heap-only one'
) from updates;
select is(
    (select entry_count from billing.credit_accounts), 5::bigint, 'and one entry'
);

select * from finish();
rollback;
