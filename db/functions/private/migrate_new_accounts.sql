-- Many accounts at once: a statement for each table. The users' migrations are locked, so none of them has an account
-- until this commits.
create or replace function billing_private.migrate_new_accounts(
    p_plans   billing_private.migration_plan[],
    p_entries billing_private.migration_entry[],
    p_now     timestamptz
)
returns setof billing_private.migrated_account
language plpgsql
as $$
declare
    v_user_id uuid;
    v_hash    bytea;
    v_entry   billing_private.migration_entry;
    v_entries billing_private.migration_entry[] := array[]::billing_private.migration_entry[];
begin
    foreach v_entry in array p_entries loop
        v_hash := billing_private.entry_hash(
            case when v_entry.user_id = v_user_id then v_hash else '\x' end, v_entry.user_id, v_entry.entry_no, p_now,
            'migration', v_entry.amount, v_entry.balance_after, 0, 'migrate_users', v_entry.idempotency_key,
            v_entry.reference_type, v_entry.reference_id, v_entry.description, v_entry.metadata, null, null, null
        );
        v_user_id := v_entry.user_id;
        v_entry.entry_hash := v_hash;
        v_entries := v_entries || v_entry;
    end loop;
    with
    last as (
        select distinct on (user_id) user_id, entry_no, balance_after, entry_hash
        from unnest(v_entries)
        order by user_id, entry_no desc
    ),
    due as (
        select user_id, min(expires_at) as expires_at from unnest(v_entries) group by user_id
    )
    insert into billing.credit_accounts (
        user_id, created_at, updated_at, entry_count, balance, tier, chain_head, next_expiry_at, last_grant_at,
        granted_through, alert_below
    )
    select
        p.user_id, p_now, p_now, coalesce(last.entry_no, 0), coalesce(last.balance_after, 0), p.tier,
        coalesce(last.entry_hash, '\x'), due.expires_at, case when due.expires_at is not null then p_now end,
        (p.period - case when p.paused then interval '1 month' else interval '0' end)::date,
        case
            when last.balance_after >= s.low_balance and s.low_balance > s.depleted_balance then s.low_balance
            when last.balance_after >= s.depleted_balance then s.depleted_balance
        end
    from unnest(p_plans) p
    cross join billing.billing_settings s
    left join last on last.user_id = p.user_id
    left join due on due.user_id = p.user_id;
    insert into billing.credit_ledger (
        user_id, entry_no, created_at, type, amount, balance_after, used_after, operation, idempotency_key,
        reference_type, reference_id, description, metadata, entry_hash
    )
    select
        e.user_id, e.entry_no, p_now, 'migration', e.amount, e.balance_after, 0, 'migrate_users', e.idempotency_key,
        e.reference_type, e.reference_id, e.description, e.metadata, e.entry_hash
    from unnest(v_entries) e;
    insert into billing.credit_grants (
        user_id, grant_no, source, amount, remaining, priority, expires_at, granted_at, entry_no, reference_type,
        reference_id
    )
    select
        e.user_id, e.entry_no, e.source, e.amount, e.amount, e.priority, e.expires_at,
        p_now, e.entry_no, e.reference_type, e.reference_id
    from unnest(v_entries) e;
    return query
        select a.user_id, 1::bigint, a.entry_count, a.balance::numeric
        from billing.credit_accounts a
        join unnest(p_plans) p on p.user_id = a.user_id;
end
$$;

comment on function billing_private.migrate_new_accounts is
    'Opens the accounts of users who have none, with what the old system owes them.';
revoke all on function billing_private.migrate_new_accounts from public;
