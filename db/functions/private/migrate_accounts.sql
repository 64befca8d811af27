create or replace function billing_private.migrate_accounts(
    p_plans     billing_private.migration_plan[],
    p_purchases billing_private.old_purchase[],
    p_now       timestamptz
)
returns setof billing_private.migrated_account
language plpgsql
as $$
declare
    v_entries billing_private.migration_entry[] := array(
        select e from billing_private.migration_entries(p_plans, p_purchases) e
    );
    v_new     billing_private.migration_plan[] := array(select p from unnest(p_plans) p where not p.has_account);
    v_plan    billing_private.migration_plan;
    v_account billing.credit_accounts;
begin
    return query
        select *
        from billing_private.migrate_new_accounts(
            v_new,
            array(
                select e
                from unnest(v_entries) e
                join unnest(v_new) p on p.user_id = e.user_id
                order by e.user_id, e.entry_no
            ),
            p_now
        );
    for v_plan in select * from unnest(p_plans) p where p.has_account order by p.user_id loop
        v_account := billing_private.lock_account(v_plan.user_id, true);
        return next billing_private.migrate_into_account(
            v_account, v_plan,
            array(select e from unnest(v_entries) e where e.user_id = v_plan.user_id order by e.entry_no),
            greatest(p_now, v_account.updated_at)
        );
    end loop;
end
$$;

comment on function billing_private.migrate_accounts is
    'Grants what planned migrations bring, to new accounts all at once and to others one by one.';
revoke all on function billing_private.migrate_accounts from public;
