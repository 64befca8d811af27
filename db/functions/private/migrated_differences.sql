-- Three things that must be one: what the old system says, what the migration recorded, and what its entries and lots
-- are.
create or replace function billing_private.migrated_differences(p_user_ids uuid[])
returns setof billing.migration_difference
language plpgsql
stable
as $$
begin
    return query
        select m.user_id, d.problem, d.old, d.new
        from billing.user_migrations m
        join billing_private.migrated_sums(p_user_ids) s on s.user_id = m.user_id
        left join billing.credit_accounts a on a.user_id = m.user_id
        cross join lateral (
            values
                ('account_missing', true, a.user_id is not null, 'an account', 'none'),
                (
                    'customer_missing', true, s.is_customer, 'none', 'migrated'
                ),
                (
                    'usage_differs', true, s.usage = m.usage_before,
                    s.usage::text, m.usage_before::text
                ),
                (
                    'bought_credit_differs', s.is_customer,
                    s.bought_credit = m.bought_credit and m.bought_credit = s.credit_entries,
                    s.bought_credit::text, s.credit_entries::text
                ),
                (
                    'tier_credits_differ', true,
                    m.tier_credits = s.tier_entries
                        -- A user who came back got what the old system left, which went by a limit of its own.
                        and (
                            m.rolled_back_at is not null
                            or m.tier_credits <= greatest(0, m.monthly_credits - m.usage_before)
                        ),
                    greatest(0, m.monthly_credits - m.usage_before)::text, s.tier_entries::text
                ),
                (
                    'lots_differ', true,
                    s.granted = s.tier_entries + s.credit_entries,
                    (s.tier_entries + s.credit_entries)::text, s.granted::text
                ),
                (
                    'balance_differs', a.user_id is not null,
                    a.balance = s.remaining - (a.used_total - a.settled_total),
                    (s.remaining - (a.used_total - a.settled_total))::text, a.balance::text
                )
        ) d (problem, applies, holds, old, new)
        where d.applies and d.holds is not true;
end
$$;

comment on function billing_private.migrated_differences(uuid[]) is
    'What the old system and the accounts of migrated users tell differently, but for purchases.';
revoke all on function billing_private.migrated_differences(uuid[]) from public;
