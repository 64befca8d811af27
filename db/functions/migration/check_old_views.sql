-- Before anything is moved: a rollback writes to the views, and finds out only then what is missing. No row: all is well.
-- In each row, old is what the view is, and new what it must be; problem names the view and the column.
create or replace function billing.check_old_views()
returns setof billing.migration_difference
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return query
        with
        wanted as (
            select w.view_name, unnest(w.columns) as column_name, w.type_name, w.view_name = 'legacy_purchases' as updates
            from (
                values
                    ('legacy_customers', '{user_id}'::text[], 'uuid'),
                    (
                        'legacy_customers',
                        '{stripe_customer_id, stripe_subscription_id, subscription_status, price_id, tier}', 'text'
                    ),
                    (
                        'legacy_customers', '{current_period_start, current_period_end, created_at}',
                        'timestamp with time zone'
                    ),
                    ('legacy_customers', '{monthly_limit, bought_credit}', 'numeric'),
                    ('legacy_usage', '{user_id}', 'uuid'),
                    ('legacy_usage', '{model, request_key}', 'text'),
                    ('legacy_usage', '{prompt_tokens, completion_tokens, cached_tokens}', 'bigint'),
                    ('legacy_usage', '{cost, paid_from_credit}', 'numeric'),
                    ('legacy_usage', '{created_at}', 'timestamp with time zone'),
                    ('legacy_purchases', '{user_id}', 'uuid'),
                    ('legacy_purchases', '{purchase_id, status, stripe_payment_intent_id}', 'text'),
                    ('legacy_purchases', '{amount}', 'numeric'),
                    ('legacy_purchases', '{price_cents}', 'bigint'),
                    ('legacy_purchases', '{created_at, completed_at}', 'timestamp with time zone')
            ) w (view_name, columns, type_name)
        ),
        views as (
            select
                w.view_name, w.updates, c.oid,
                has_table_privilege(c.oid, 'select') as selects, has_table_privilege(c.oid, 'insert') as inserts,
                has_table_privilege(c.oid, 'update') as may_update,
                -- Bits of the commands that a view takes, by itself or by an INSTEAD OF trigger: 4 UPDATE, 8 INSERT.
                pg_relation_is_updatable(c.oid::regclass, true) as takes
            from (select distinct view_name, updates from wanted) w
            left join pg_class c on c.relname = w.view_name and c.relnamespace = 'legacy_billing'::regnamespace
        )
        select null::uuid, w.view_name || '.' || w.column_name, coalesce(format_type(a.atttypid, null), 'missing'),
            w.type_name
        from wanted w
        join views v on v.view_name = w.view_name
        left join pg_attribute a on a.attrelid = v.oid and a.attname = w.column_name and not a.attisdropped
        where format_type(a.atttypid, null) is distinct from w.type_name
        union all
        select null, v.view_name, p.old, p.new
        from views v
        cross join lateral (
            values
                (v.selects, 'not readable', 'grant select to billing_owner'),
                (v.inserts, 'not writable', 'grant insert to billing_owner'),
                (v.may_update or not v.updates, 'not writable', 'grant update to billing_owner'),
                (v.takes & 8 = 8, 'takes no INSERT', 'an INSTEAD OF INSERT trigger'),
                (v.takes & 4 = 4 or not v.updates, 'takes no UPDATE', 'an INSTEAD OF UPDATE trigger')
        ) p (holds, old, new)
        where v.oid is not null and p.holds is not true
        order by 2, 3;
end
$$;

comment on function billing.check_old_views() is
    'What keeps the views of the old system from being read and written as a migration and a rollback do.';
revoke all on function billing.check_old_views() from public;
