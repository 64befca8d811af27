-- Of purchases that are paid, each has its whole amount in both systems; and what of it was not spent before the
-- migration has the lots of its entry.
create or replace function billing_private.purchase_differences(p_user_ids uuid[])
returns setof billing.migration_difference
language plpgsql
stable
as $$
begin
    return query
        select o.user_id, d.problem, d.old, d.new
        from legacy_billing.legacy_purchases o
        left join billing.credit_purchases c
            on c.user_id = o.user_id and c.legacy_purchase_id = o.purchase_id
        left join billing.credit_ledger e on e.user_id = o.user_id and e.entry_no = c.entry_no
        cross join lateral (
            values
                ('purchase_missing', c.purchase_id is not null, o.purchase_id, 'none'),
                (
                    'purchase_differs',
                    c.purchase_id is null
                        or (c.amount, c.price_cents) = (o.amount, o.price_cents)
                        and c.stripe_payment_intent_id is not distinct from nullif(o.stripe_payment_intent_id, '')
                        -- What was open when the user left may have ended here.
                        and (o.status <> 'completed' or c.status = 'paid')
                        and (o.status <> 'refunded' or c.status = 'refunded'),
                    format('%s: %s for %s cents, %s', o.purchase_id, o.amount, o.price_cents, o.status),
                    format('%s: %s for %s cents, %s', c.purchase_id, c.amount, c.price_cents, c.status)
                ),
                (
                    'purchase_lot_differs',
                    coalesce(c.kind <> 'migration' or c.status <> 'paid', true)
                        or coalesce(e.amount, 0) = c.amount - c.spent_before,
                    format('%s: %s left', o.purchase_id, c.amount - c.spent_before), coalesce(e.amount, 0)::text
                )
        ) d (problem, holds, old, new)
        where o.user_id = any (p_user_ids) and d.holds is not true;
end
$$;

comment on function billing_private.purchase_differences(uuid[]) is
    'Purchases that the old system and the accounts of migrated users tell differently.';
revoke all on function billing_private.purchase_differences(uuid[]) from public;
