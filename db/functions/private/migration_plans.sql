-- One row per user who is known to the old system.
create or replace function billing_private.migration_plans(p_user_ids uuid[], p_now timestamptz)
returns setof billing_private.migration_plan
language plpgsql
stable
as $$
declare
    v_period date := billing_private.period_of(p_now);
    v_start  timestamptz := v_period::timestamp at time zone 'UTC';
    v_end    timestamptz := (v_period + interval '1 month') at time zone 'UTC';
begin
    return query
        with
        usage as (
            select u.user_id, sum(u.cost) as cost
            from legacy_billing.legacy_usage u
            where u.user_id = any (p_user_ids) and u.created_at >= v_start and u.created_at < v_end
            group by u.user_id
        ),
        facts as (
            select
                s.*, a.user_id is not null as has_account, coalesce(m.round, 0) as round,
                coalesce(g.cost, 0) as usage_before, coalesce(p.purchases, 0) as purchases, t.monthly_credits,
                -- Of a user who comes back within the month, the rollback has made what the old system leaves exact.
                case
                    when m.status = 'rolled_back' and m.rolled_back_at >= v_start then s.monthly_limit
                    else t.monthly_credits
                end as allowance,
                -- What an account from before this migration was given; what was handed back does not count.
                case
                    when a.user_id is not null and m.status is distinct from 'rolled_back'
                        then billing_private.tier_granted(s.user_id, v_period)
                    else 0
                end as granted,
                case
                    when a.status = 'closed' and m.status is distinct from 'rolled_back'
                        then array['account_closed', 'The account that the user has is closed.']
                    when s.problem is not null then array[s.problem, s.detail]
                    when t.monthly_credits is null then array['unknown_tier', format('There is no tier %L.', s.tier)]
                    when p.problem is not null then array[p.problem, p.detail]
                    when w.problem is not null
                        then array[
                            w.problem, format(
                                'Usage %s, bought credit %s, limit %s.', coalesce(g.cost, 0), s.bought_credit,
                                s.monthly_limit
                            )
                        ]
                end as finding
            from billing_private.old_standings(p_user_ids) s
            left join usage g on g.user_id = s.user_id
            left join billing_private.old_purchase_counts(p_user_ids) p on p.user_id = s.user_id
            left join billing.credit_accounts a on a.user_id = s.user_id
            left join billing.user_migrations m on m.user_id = s.user_id
            left join lateral (
                select b.monthly_credits
                from billing.billing_tier_amounts b
                where b.tier = s.tier and b.from_period <= v_period
                order by b.from_period desc
                limit 1
            ) t on true
            cross join lateral (
                select coalesce(
                    billing_private.old_amount_problem(s.bought_credit),
                    billing_private.old_amount_problem(coalesce(g.cost, 0)),
                    billing_private.old_amount_problem(s.monthly_limit)
                ) as problem
            ) w
        )
        select
            f.user_id, f.finding[1], f.finding[2], f.has_account, f.round, f.tier, f.paused, f.subscription_status,
            f.stripe_customer_id, v_period, trim_scale(f.usage_before), trim_scale(f.monthly_credits),
            case when f.paused then 0 else trim_scale(greatest(0, f.allowance - f.usage_before - f.granted)) end,
            trim_scale(f.bought_credit), f.purchases
        from facts f
        order by f.user_id;
end
$$;

comment on function billing_private.migration_plans(uuid[], timestamptz) is
    'What a migration at a time would do for users of the old system, and what keeps it from that.';
revoke all on function billing_private.migration_plans(uuid[], timestamptz) from public;
