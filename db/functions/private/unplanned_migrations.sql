create or replace function billing_private.unplanned_migrations(p_user_ids uuid[])
returns setof billing.migration
language plpgsql
stable
as $$
begin
    return query
        select
            id, case m.status when 'migrated' then 'already_migrated' else 'refused' end,
            case when m.status is distinct from 'migrated' then 'unknown_user' end,
            case when m.status is distinct from 'migrated' then 'The old system does not know the user.' end,
            m.tier, null::text, m.usage_before, m.monthly_credits, m.tier_credits, m.bought_credit, m.purchases,
            a.balance::numeric
        from unnest(p_user_ids) id
        left join billing.user_migrations m on m.user_id = id
        left join billing.credit_accounts a on a.user_id = id and m.status = 'migrated';
end
$$;

comment on function billing_private.unplanned_migrations(uuid[]) is
    'Users for whom a migration has nothing to do: those migrated before, and strangers.';
revoke all on function billing_private.unplanned_migrations(uuid[]) from public;
