-- What was bought here becomes known to the old system, and what was paid here of what was open there. The caller has
-- locked the user's migration.
create or replace function billing_private.hand_over_purchases(p_user_id uuid)
returns bigint
language plpgsql
as $$
declare
    v_count bigint;
begin
    -- What the old system has heard of a payment without counting it is the same purchase.
    update billing.credit_purchases c
    set legacy_purchase_id = coalesce(
        (
            select min(o.purchase_id)
            from legacy_billing.legacy_purchases o
            where o.user_id = p_user_id and o.stripe_payment_intent_id = c.stripe_payment_intent_id
        ),
        c.purchase_id::text
    )
    where c.user_id = p_user_id and c.status = 'paid' and c.legacy_purchase_id is null;
    update legacy_billing.legacy_purchases o
    set status = t.status, completed_at = t.completed_at
    from billing_private.told_purchases(p_user_id) t
    where o.user_id = p_user_id
        and o.purchase_id = t.legacy_purchase_id
        and (o.status in ('pending', 'failed') or (o.status = 'completed' and t.status = 'refunded'));
    insert into legacy_billing.legacy_purchases (
        purchase_id, user_id, amount, price_cents, status, stripe_payment_intent_id, created_at, completed_at
    )
    select
        t.legacy_purchase_id, p_user_id, t.amount, t.price_cents, t.status, t.stripe_payment_intent_id, t.created_at,
        t.completed_at
    from billing_private.told_purchases(p_user_id) t
    where not exists (
        select from legacy_billing.legacy_purchases o
        where o.user_id = p_user_id and o.purchase_id = t.legacy_purchase_id
    );
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

comment on function billing_private.hand_over_purchases(uuid) is
    'Tells the old system what a user has bought since; returns how many purchases.';
revoke all on function billing_private.hand_over_purchases(uuid) from public;
