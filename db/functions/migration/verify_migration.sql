-- The old system takes no row of a user who has left it, so what a migration would find there is what it found. Users
-- who wait are compared with nothing, but those that can't be migrated are named, and why. For 1 to 1000 users.
-- Raises: UC400 invalid_request.
create or replace function billing.verify_migration(p_user_ids uuid[])
returns setof billing.migration_difference
language plpgsql
stable
security definer
set search_path = pg_temp
set jit = off
set plan_cache_mode = force_custom_plan
as $$
declare
    v_user_ids uuid[] := billing_private.old_user_ids(p_user_ids);
    v_migrated uuid[] := array(
        select user_id
        from billing.user_migrations
        where user_id = any (v_user_ids) and status = 'migrated'
        order by user_id
    );
begin
    return query
        select d.* from billing_private.migrated_differences(v_migrated) d
        union all
        select d.* from billing_private.purchase_differences(v_migrated) d
        union all
        select d.* from billing_private.subscription_differences(v_migrated) d
        union all
        select id, 'unknown_user', 'unknown', 'unknown'
        from unnest(v_user_ids) id
        where not exists (select from legacy_billing.legacy_customers c where c.user_id = id)
            and not exists (select from billing.credit_accounts a where a.user_id = id)
        union all
        select p.user_id, p.problem, p.detail, 'not migrated'
        from billing_private.migration_plans(
            array(select id from unnest(v_user_ids) id except select id from unnest(v_migrated) id),
            billing_private.clock()
        ) p
        where p.problem is not null
        order by 1, 2;
end
$$;

comment on function billing.verify_migration(uuid[]) is
    'What the old system and accounts tell differently of migrated users, and who can''t be migrated.';
revoke all on function billing.verify_migration(uuid[]) from public;
