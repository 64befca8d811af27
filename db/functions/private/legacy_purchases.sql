create or replace function billing_private.legacy_purchases(p_user_id uuid)
returns setof billing.legacy_purchase
language plpgsql
stable
as $$
begin
    if billing_private.lives_here(p_user_id) then
        return query
            select
                coalesce(c.legacy_purchase_id, c.purchase_id::text), c.user_id, c.amount::numeric, c.price_cents,
                case
                    when c.status = 'paid' then 'completed'
                    when c.status in ('pending', 'open', 'processing') then 'pending'
                    when c.status = 'expired' then 'failed'
                    else c.status
                end,
                c.stripe_payment_intent_id, c.created_at, c.completed_at, true, false
            from billing.credit_purchases c
            where c.user_id = p_user_id;
    else
        return query
            select
                o.purchase_id, o.user_id, o.amount, o.price_cents, o.status, o.stripe_payment_intent_id, o.created_at,
                o.completed_at, false, false
            from legacy_billing.legacy_purchases o
            where o.user_id = p_user_id;
    end if;
end
$$;

comment on function billing_private.legacy_purchases(uuid) is
    'All purchases of a user, from the system that the user lives in, in the terms of the old one.';
revoke all on function billing_private.legacy_purchases(uuid) from public;
