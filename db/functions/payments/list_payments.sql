-- Newest first; page on with p_before = the last payment_intent_id.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_payments(
    p_user_id           uuid,
    p_payment_intent_id text default null,
    p_before            text default null,
    p_limit             integer default 500
)
returns setof billing.payment
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_before billing.billing_payments;
begin
    perform billing_private.check_limit(p_limit);
    select * into v_before from billing.billing_payments where payment_intent_id = p_before and user_id = p_user_id;
    return query
        select
            p.payment_intent_id, p.user_id, p.purchase_id, p.amount_cents, p.currency, m.refunded, m.lost,
            m.disputed, p.bought::numeric, p.reclaimed::numeric, p.clawed::numeric, p.owed::numeric, p.created_at
        from billing.billing_payments p
        cross join lateral billing_private.money_back(p.payment_intent_id) m
        where p.user_id = p_user_id
            and (p_payment_intent_id is null or p.payment_intent_id = p_payment_intent_id)
            and (
                p_before is null
                or p.created_at < v_before.created_at
                or (p.created_at = v_before.created_at and p.payment_intent_id > v_before.payment_intent_id)
            )
        order by p.created_at desc, p.payment_intent_id
        limit p_limit;
end
$$;

comment on function billing.list_payments(uuid, text, text, integer) is
    'The payments of a user, or one of them, with what went back, newest first, page by page.';
revoke all on function billing.list_payments(uuid, text, text, integer) from public;
grant execute on function billing.list_payments(uuid, text, text, integer) to billing_api;
