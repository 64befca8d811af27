-- The rest of the month's credits, what is left of each purchase, and what no purchase explains.
create or replace function billing_private.migration_entries(
    p_plans     billing_private.migration_plan[],
    p_purchases billing_private.old_purchase[]
)
returns setof billing_private.migration_entry
language plpgsql
stable
as $$
begin
    return query
        with parts as (
            select
                p.user_id, p.round, 0::bigint as position, p.tier_credits as amount, 'tier_grant' as source,
                (p.period + interval '1 month') at time zone 'UTC' as expires_at,
                'period' as reference_type, to_char(p.period, 'YYYY-MM') as reference_id,
                format('Rest of the credits of %s', to_char(p.period, 'YYYY-MM')) as description,
                jsonb_build_object('monthly_credits', p.monthly_credits, 'usage_before', p.usage_before) as metadata
            from unnest(p_plans) p
            union all
            select
                o.user_id, p.round, o.purchase_no, o.remaining, 'purchase', null, 'legacy_purchase',
                o.legacy_purchase_id, format('Left of a purchase of %s credits', o.amount),
                jsonb_build_object(
                    'purchase_id', o.purchase_id, 'amount', o.amount, 'spent_before', o.amount - o.remaining
                )
            from unnest(p_purchases) o
            join unnest(p_plans) p on p.user_id = o.user_id
            union all
            select
                p.user_id, p.round, 9223372036854775807, p.bought_credit - coalesce(sum(o.remaining), 0), 'migration',
                null, 'legacy_credit', null, 'Credit of the old system that no purchase explains',
                jsonb_build_object('bought_credit', p.bought_credit)
            from unnest(p_plans) p
            left join unnest(p_purchases) o on o.user_id = p.user_id
            group by p.user_id, p.round, p.bought_credit
        )
        select
            p.user_id, row_number() over w, p.amount, sum(p.amount) over w, p.source,
            billing_private.source_priority(case p.source when 'migration' then 'purchase' else p.source end),
            p.expires_at,
            concat_ws('/', p.round + 1, p.reference_type, p.reference_id), p.reference_type, p.reference_id,
            p.description, p.metadata, null::bytea
        from parts p
        where p.amount > 0
        window w as (partition by p.user_id order by p.position)
        order by p.user_id, p.position;
end
$$;

comment on function billing_private.migration_entries(
    billing_private.migration_plan[], billing_private.old_purchase[]
) is 'The entries of planned migrations, in their order.';
revoke all on function billing_private.migration_entries(
    billing_private.migration_plan[], billing_private.old_purchase[]
) from public;
