-- Reads everything, 500 users at a time. Usage is this month's. Changes nothing.
create or replace function billing.analyze_migration()
returns setof billing.migration_group
language plpgsql
stable
security definer
set search_path = pg_temp
set jit = off
set plan_cache_mode = force_custom_plan
as $$
declare
    v_after  uuid;
    v_ids    uuid[];
    v_groups billing.migration_group[] := array[]::billing.migration_group[];
begin
    loop
        select array_agg(u.user_id order by u.user_id) into v_ids
        from billing.list_old_users(null, v_after, 500) u;
        exit when v_ids is null;
        v_after := v_ids[cardinality(v_ids)];
        v_groups := array(
            select (
                g.tier, g.subscription_status, g.problem, g.status, sum(g.users), sum(g.usage_before),
                sum(g.tier_credits), sum(g.bought_credit), sum(g.purchases)
            )::billing.migration_group
            from (
                select * from unnest(v_groups)
                union all
                select
                    p.tier, coalesce(p.subscription_status, 'none'), p.problem,
                    coalesce(nullif(m.status, 'none'), 'waiting'), 1, p.usage_before,
                    case m.status when 'migrated' then m.tier_credits else p.tier_credits end,
                    p.bought_credit, p.purchases
                from billing_private.migration_plans(v_ids, billing_private.clock()) p
                left join billing.user_migrations m on m.user_id = p.user_id
            ) g
            group by g.tier, g.subscription_status, g.problem, g.status
        );
    end loop;
    v_groups := v_groups || array(
        select (null, null, 'no_customer', 'waiting', count(*), null, null, null, null)::billing.migration_group
        from billing_private.users_without_customer()
        having count(*) > 0
    );
    return query
        select g.*
        from unnest(v_groups) g
        left join billing.billing_tiers t on t.name = g.tier
        order by g.status <> 'waiting', g.status, g.problem nulls first, t.rank nulls last, g.subscription_status;
end
$$;

comment on function billing.analyze_migration() is
    'How many users the old system has, by tier and state, what they hold, and what keeps some from migrating.';
revoke all on function billing.analyze_migration() from public;
