-- For 1 to 1000 users. The balance is what the account would have. Reads only: what a frozen or an overdue account
-- would settle first is not counted.
-- Raises: UC400 invalid_request.
create or replace function billing.plan_migration(p_user_ids uuid[])
returns setof billing.migration
language plpgsql
stable
security definer
set search_path = pg_temp
set jit = off
set plan_cache_mode = force_custom_plan
as $$
declare
    v_user_ids uuid[] := billing_private.old_user_ids(p_user_ids);
    v_plans    billing_private.migration_plan[];
begin
    v_plans := array(
        select p
        from billing_private.migration_plans(v_user_ids, billing_private.clock()) p
        left join billing.user_migrations m on m.user_id = p.user_id
        where m.status is distinct from 'migrated'
    );
    return query
        select v.*
        from unnest(v_plans) p
        left join billing.credit_accounts a on a.user_id = p.user_id
        cross join lateral billing_private.as_migration(
            p, 'planned', coalesce(a.balance, 0) + p.tier_credits + p.bought_credit
        ) v
        union all
        select v.*
        from billing_private.unplanned_migrations(
            array(select id from unnest(v_user_ids) id except select p.user_id from unnest(v_plans) p)
        ) v
        order by user_id;
end
$$;

comment on function billing.plan_migration(uuid[]) is
    'What migrating users of the old system would give them at this moment, or what keeps it from that.';
revoke all on function billing.plan_migration(uuid[]) from public;
