-- What is left of bought credit is what was bought last: the old system spent its oldest purchase first. A purchase
-- that both systems know keeps the row that it has here.
create or replace function billing_private.old_purchases(p_plans billing_private.migration_plan[])
returns setof billing_private.old_purchase
language plpgsql
as $$
begin
    return query
        with
        purchases as (
            select
                o.*, p.bought_credit,
                coalesce(o.completed_at, o.created_at) as bought_at,
                -- What went back of its payment is not what is left.
                case o.status when 'completed' then o.amount - coalesce(b.reclaimed, 0) else 0 end as counts
            from unnest(p_plans) p
            join legacy_billing.legacy_purchases o on o.user_id = p.user_id
            left join billing.billing_payments b
                on b.payment_intent_id = o.stripe_payment_intent_id and b.user_id = o.user_id
        ),
        later as (
            select
                o.*,
                row_number() over (partition by o.user_id order by o.bought_at, o.purchase_id) as purchase_no,
                coalesce(sum(o.counts) over (
                    partition by o.user_id order by o.bought_at desc, o.purchase_id desc
                    rows between unbounded preceding and 1 preceding
                ), 0) as bought_later
            from purchases o
        )
        select
            l.user_id, l.purchase_no, l.purchase_id,
            coalesce(c.purchase_id, billing_private.time_ordered_id(l.created_at)), c.purchase_id is not null,
            trim_scale(l.amount), l.price_cents, l.status, nullif(l.stripe_payment_intent_id, ''), l.created_at, l.completed_at,
            trim_scale(least(l.counts, greatest(0, l.bought_credit - l.bought_later)))
        from later l
        left join billing.credit_purchases c on c.user_id = l.user_id and c.legacy_purchase_id = l.purchase_id
        order by l.user_id, l.purchase_no;
end
$$;

comment on function billing_private.old_purchases(billing_private.migration_plan[]) is
    'The purchases of users of the old system, the oldest first, with what is left of each.';
revoke all on function billing_private.old_purchases(billing_private.migration_plan[]) from public;
