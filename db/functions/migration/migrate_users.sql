-- All or nothing for those named, 1 to 1000; a user whom something keeps from migrating is told as refused, and does
-- not stop the others. The rest of the month's credits is a lot that ends with the month; bought credit is a lot per
-- purchase, the newest first, because the old system spent its oldest first.
-- Locks:  the users' migrations in their order, then the accounts that exist, until commit.
-- Replay: a user who was migrated is told as already_migrated, with what it brought then.
-- Raises: UC400 invalid_request, UC422 amount_too_large.
create or replace function billing.migrate_users(p_user_ids uuid[])
returns setof billing.migration
language plpgsql
security definer
set search_path = pg_temp
set jit = off
set plan_cache_mode = force_custom_plan
as $$
declare
    v_user_ids  uuid[] := billing_private.old_user_ids(p_user_ids);
    v_waiting   uuid[] := billing_private.lock_migrations(v_user_ids);
    v_now       timestamptz;
    v_user_id   uuid;
    v_plans     billing_private.migration_plan[];
    v_good      billing_private.migration_plan[];
    v_purchases billing_private.old_purchase[];
    v_accounts  billing_private.migrated_account[];
begin
    for v_user_id in
        select user_id from billing.credit_accounts where user_id = any (v_waiting) order by user_id
    loop
        perform billing_private.ready_account(v_user_id);
    end loop;
    v_now := billing_private.clock();
    v_plans := array(select p from billing_private.migration_plans(v_waiting, v_now) p);
    v_good := array(select p from unnest(v_plans) p where p.problem is null);
    v_purchases := array(select o from billing_private.old_purchases(v_good) o);
    v_accounts := array(select a from billing_private.migrate_accounts(v_good, v_purchases, v_now) a);
    perform billing_private.record_migrations(v_good, v_purchases, v_accounts, v_now);
    perform billing_private.adopt_old_payments(v_purchases);
    return query
        select v.*
        from unnest(v_plans) p
        left join billing.credit_accounts a on a.user_id = p.user_id
        cross join lateral billing_private.as_migration(p, 'migrated', a.balance) v
        union all
        select v.*
        from billing_private.unplanned_migrations(
            array(select id from unnest(v_user_ids) id except select p.user_id from unnest(v_plans) p)
        ) v
        order by user_id;
end
$$;

comment on function billing.migrate_users(uuid[]) is
    'Moves users from the old system to accounts, with what they have there.';
revoke all on function billing.migrate_users(uuid[]) from public;
