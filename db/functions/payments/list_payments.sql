create or replace function billing.list_payments(p_user_id uuid, p_payment_intent_id text default null)
returns setof billing.payment
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return query
        select
            p.payment_intent_id, p.user_id, p.purchase_id, p.amount_cents, p.currency, m.refunded, m.lost,
            m.disputed, p.bought::numeric, p.reclaimed::numeric, p.clawed::numeric, p.owed::numeric, p.created_at
        from billing.billing_payments p
        cross join lateral billing_private.money_back(p.payment_intent_id) m
        where p.user_id = p_user_id
            and (p_payment_intent_id is null or p.payment_intent_id = p_payment_intent_id)
        order by p.created_at desc, p.payment_intent_id
        limit 500;
end
$$;

comment on function billing.list_payments(uuid, text) is
    'The newest 500 payments of a user, or one of them, with what went back.';
revoke all on function billing.list_payments(uuid, text) from public;
grant execute on function billing.list_payments(uuid, text) to billing_api;
