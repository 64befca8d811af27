-- A payment that is of no customer and no purchase of ours is somebody else's.
create or replace function billing_private.compare_payments(p_objects jsonb)
returns setof billing.difference
language plpgsql
stable
as $$
begin
    return query
        with
        theirs as (
            select
                o ->> 'id' as id, (o ->> 'amount_received')::bigint as cents, o ->> 'currency' as currency,
                billing_private.as_uuid(o #>> '{metadata,purchase_id}') as purchase_id,
                billing_private.user_of_customer(o ->> 'customer') as user_id
            from jsonb_array_elements(p_objects) o
            where o ->> 'object' = 'payment_intent' and o ->> 'status' = 'succeeded'
        ),
        pairs as (
            select t.id, coalesce(p.user_id, b.user_id, t.user_id) as user_id, t.cents, t.currency, t.purchase_id,
                p.payment_intent_id, p.amount_cents, p.currency as our_currency, p.purchase_id as our_purchase_id,
                b.purchase_id as bought_id
            from theirs t
            left join billing.billing_payments p on p.payment_intent_id = t.id
            left join billing.credit_purchases b on b.purchase_id = t.purchase_id
            where t.purchase_id is not null or t.user_id is not null or p.payment_intent_id is not null
        )
        select
            'payment', d.id, d.user_id, c.problem,
            concat_ws(' ', coalesce(d.amount_cents::text, 'nothing'), d.our_currency),
            format('%s %s', d.cents, d.currency), c.fixable
        from pairs d
        cross join lateral (
            select *
            from (
                values
                    ('unknown_purchase', d.purchase_id is not null and d.bought_id is null, false),
                    ('payment_not_booked', d.payment_intent_id is null, true),
                    (
                        'payment_differs',
                        (d.amount_cents, d.our_currency) <> (d.cents, d.currency) or d.our_purchase_id <> d.purchase_id,
                        false
                    ),
                    ('purchase_not_granted', d.our_purchase_id is null and d.purchase_id is not null, true)
            ) as rules (problem, broken, fixable)
            where broken
            limit 1
        ) c;
end
$$;

comment on function billing_private.compare_payments(jsonb) is 'Payments that Stripe and we tell differently.';
revoke all on function billing_private.compare_payments(jsonb) from public;
