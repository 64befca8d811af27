-- Three things that must be one: what the old system says, what the migration recorded, and what its entries and lots
-- are.
create or replace function billing_private.migrated_differences(p_user_ids uuid[])
returns setof billing.migration_difference
language plpgsql
stable
as $$
begin
    return query
        with
        migrations as (
            select m.*, m.period::timestamp at time zone 'UTC' as month_start,
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
                e.user_id, coalesce(sum(e.amount) filter (where e.reference_type = 'period'), 0) as tier_credits,
                coalesce(sum(e.amount) filter (where e.reference_type <> 'period'), 0) as bought_credit
            from migrations m
            join billing.credit_ledger e
                on e.user_id = m.user_id
                and e.entry_no between m.first_entry_no and m.last_entry_no
                and e.type = 'migration'
            group by e.user_id
        ),
        lots as (
            select l.user_id, sum(l.amount) as granted
            from migrations m
            join billing.credit_grants l
                on l.user_id = m.user_id and l.entry_no between m.first_entry_no and m.last_entry_no
            group by l.user_id
        ),
        held as (
            select l.user_id, sum(l.remaining) as remaining
            from billing.credit_grants l
            where l.user_id = any (p_user_ids) and l.remaining > 0
            group by l.user_id
        )
        select m.user_id, d.problem, d.old, d.new
        from migrations m
        left join usage u on u.user_id = m.user_id
        left join customers c on c.user_id = m.user_id
        left join entries e on e.user_id = m.user_id
        left join lots l on l.user_id = m.user_id
        left join held h on h.user_id = m.user_id
        left join billing.credit_accounts a on a.user_id = m.user_id
        cross join lateral (
            values
                ('account_missing', true, a.user_id is not null, 'an account', 'none'),
                (
                    'customer_missing', true, c.user_id is not null, 'none', 'migrated'
                ),
                (
                    'usage_differs', true, coalesce(u.cost, 0) = m.usage_before,
                    coalesce(u.cost, 0)::text, m.usage_before::text
                ),
                (
                    'bought_credit_differs', c.user_id is not null,
                    c.bought_credit = m.bought_credit and m.bought_credit = coalesce(e.bought_credit, 0),
                    c.bought_credit::text, coalesce(e.bought_credit, 0)::text
                ),
                (
                    'tier_credits_differ', true,
                    m.tier_credits = coalesce(e.tier_credits, 0)
                        -- A user who came back got what the old system left, which went by a limit of its own.
                        and (
                            m.rolled_back_at is not null
                            or m.tier_credits <= greatest(0, m.monthly_credits - m.usage_before)
                        ),
                    greatest(0, m.monthly_credits - m.usage_before)::text, coalesce(e.tier_credits, 0)::text
                ),
                (
                    'lots_differ', true,
                    coalesce(l.granted, 0) = coalesce(e.tier_credits, 0) + coalesce(e.bought_credit, 0),
                    (coalesce(e.tier_credits, 0) + coalesce(e.bought_credit, 0))::text, coalesce(l.granted, 0)::text
                ),
                (
                    'balance_differs', a.user_id is not null,
                    a.balance = coalesce(h.remaining, 0) - (a.used_total - a.settled_total),
                    (coalesce(h.remaining, 0) - (a.used_total - a.settled_total))::text, a.balance::text
                )
        ) d (problem, applies, holds, old, new)
        where d.applies and d.holds is not true;
end
$$;

comment on function billing_private.migrated_differences(uuid[]) is
    'What the old system and the accounts of migrated users tell differently, but for purchases.';
revoke all on function billing_private.migrated_differences(uuid[]) from public;
