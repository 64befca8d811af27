-- Each purchase of the old system is a row here, whatever became of it; its payment is known, so that a refund or a
-- dispute of it finds its lot. The caller has granted the lots.
create or replace function billing_private.record_old_purchases(p_purchases billing_private.old_purchase[])
returns void
language plpgsql
as $$
begin
    -- What was still open when the user was here before.
    update billing.credit_purchases c
    set status = case o.status when 'completed' then 'paid' else o.status end,
        spent_before = case o.status when 'completed' then o.amount - o.remaining else 0 end,
        entry_no = l.entry_no,
        completed_at = case
            when o.status = 'completed' then coalesce(o.completed_at, o.created_at)
            when o.status = 'refunded' then o.completed_at
        end
    from unnest(p_purchases) o
    left join billing_private.migrated_lots(p_purchases) l on l.purchase_id = o.purchase_id
    where c.purchase_id = o.purchase_id and o.is_known and c.kind = 'migration' and c.status <> 'paid';
    -- And what the old system has refunded since.
    update billing.credit_purchases c
    set status = 'refunded'
    from unnest(p_purchases) o
    where c.purchase_id = o.purchase_id and o.status = 'refunded' and c.status = 'paid';
    insert into billing.credit_purchases (
        purchase_id, user_id, kind, amount, price_cents, status, spent_before, legacy_purchase_id,
        stripe_payment_intent_id, entry_no, created_at, completed_at
    )
    select
        o.purchase_id, o.user_id, 'migration', o.amount, o.price_cents,
        case o.status when 'completed' then 'paid' else o.status end,
        case o.status when 'completed' then o.amount - o.remaining else 0 end, o.legacy_purchase_id,
        o.stripe_payment_intent_id, l.entry_no, o.created_at,
        case
            when o.status = 'completed' then coalesce(o.completed_at, o.created_at)
            when o.status = 'refunded' then o.completed_at
        end
    from unnest(p_purchases) o
    left join billing_private.migrated_lots(p_purchases) l on l.purchase_id = o.purchase_id
    where not o.is_known;
    insert into billing.billing_payments (
        payment_intent_id, user_id, purchase_id, amount_cents, currency, bought, created_at
    )
    select o.stripe_payment_intent_id, o.user_id, o.purchase_id, o.price_cents, 'usd', o.amount, o.created_at
    from unnest(p_purchases) o
    where o.status = 'completed' and o.stripe_payment_intent_id is not null
    on conflict (payment_intent_id) do nothing;
    -- The lot that a migration brought stands for the payment, in the place of one from before.
    update billing.billing_payments p
    set purchase_id = o.purchase_id, bought = o.amount, grant_no = coalesce(l.grant_no, p.grant_no)
    from unnest(p_purchases) o
    left join billing_private.migrated_lots(p_purchases) l on l.purchase_id = o.purchase_id
    where o.status = 'completed' and p.payment_intent_id = o.stripe_payment_intent_id and p.user_id = o.user_id;
end
$$;

comment on function billing_private.record_old_purchases(billing_private.old_purchase[]) is
    'Records the purchases and payments that migrated users bring along.';
revoke all on function billing_private.record_old_purchases(billing_private.old_purchase[]) from public;
