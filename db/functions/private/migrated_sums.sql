-- For users whose migration stands: what the old system counts for its month and has as bought credit, what its entries
-- and their lots granted, and what all lots have left.
create or replace function billing_private.migrated_sums(p_user_ids uuid[])
returns table (
    user_id uuid, usage numeric, is_customer boolean, bought_credit numeric, tier_entries numeric,
    credit_entries numeric, granted numeric, remaining numeric
)
language plpgsql
stable
as $$
begin
    return query
        with
        migrations as (
            select m.user_id, m.first_entry_no, m.last_entry_no, m.period::timestamp at time zone 'UTC' as month_start,
                (m.period + interval '1 month') at time zone 'UTC' as month_end
            from billing.user_migrations m
            where m.user_id = any (p_user_ids)
        ),
        usage as (
            select u.user_id, sum(u.cost) as cost
            from migrations m
            join legacy_billing.legacy_usage u
                on u.user_id = m.user_id and u.created_at >= m.month_start and u.created_at < m.month_end
            group by u.user_id
        ),
        customers as (
            select c.user_id, max(c.bought_credit) as bought_credit
            from legacy_billing.legacy_customers c
            where c.user_id = any (p_user_ids)
            group by c.user_id
        ),
        entries as (
            select
                e.user_id, sum(e.amount) filter (where e.reference_type = 'period') as tier_credits,
                sum(e.amount) filter (where e.reference_type <> 'period') as bought_credit
            from migrations m
            join billing.credit_ledger e
                on e.user_id = m.user_id
                and e.entry_no between m.first_entry_no and m.last_entry_no
                and e.type = 'migration'
            group by e.user_id
        ),
        lots as (
            select
                l.user_id, sum(l.remaining) as remaining,
                sum(l.amount) filter (where l.entry_no between m.first_entry_no and m.last_entry_no) as granted
            from migrations m
            join billing.credit_grants l on l.user_id = m.user_id
            group by l.user_id
        )
        select
            m.user_id, coalesce(u.cost, 0), c.user_id is not null, c.bought_credit, coalesce(e.tier_credits, 0),
            coalesce(e.bought_credit, 0), coalesce(l.granted, 0), coalesce(l.remaining, 0)
        from migrations m
        left join usage u on u.user_id = m.user_id
        left join customers c on c.user_id = m.user_id
        left join entries e on e.user_id = m.user_id
        left join lots l on l.user_id = m.user_id;
end
$$;

comment on function billing_private.migrated_sums(uuid[]) is 'What the comparison of migrated users goes by.';
revoke all on function billing_private.migrated_sums(uuid[]) from public;
