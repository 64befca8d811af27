create or replace function billing_private.told_purchases(p_user_id uuid)
returns table (
    legacy_purchase_id text, amount numeric, price_cents bigint, status text, stripe_payment_intent_id text,
    created_at timestamptz, completed_at timestamptz
)
language plpgsql
stable
as $$
begin
    return query
        select
            c.legacy_purchase_id, c.amount::numeric, c.price_cents,
            case when p.reclaimed = p.bought then 'refunded' else 'completed' end, c.stripe_payment_intent_id,
            c.created_at, c.completed_at
        from billing.credit_purchases c
        left join billing.billing_payments p
            on p.payment_intent_id = c.stripe_payment_intent_id and p.purchase_id = c.purchase_id
        where c.user_id = p_user_id and c.status = 'paid';
end
$$;

comment on function billing_private.told_purchases(uuid) is
    'The paid purchases of a user in the terms of the old system: refunded once all that was bought went back.';
revoke all on function billing_private.told_purchases(uuid) from public;
