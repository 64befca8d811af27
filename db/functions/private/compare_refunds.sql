-- Only refunds of payments that are ours: those of other payments at the same Stripe account are somebody else's.
create or replace function billing_private.compare_refunds(p_objects jsonb)
returns setof billing.difference
language plpgsql
stable
as $$
begin
    return query
        select
            'refund', o ->> 'id', p.user_id,
            case when r.refund_id is null then 'refund_not_booked' else 'refund_differs' end,
            concat_ws(' ', coalesce(r.amount_cents::text, 'nothing'), r.status),
            format('%s %s', o ->> 'amount', o ->> 'status'),
            r.refund_id is null or r.amount_cents = (o ->> 'amount')::bigint
        from jsonb_array_elements(p_objects) o
        join billing.billing_payments p on p.payment_intent_id = o ->> 'payment_intent'
        left join billing.credit_refunds r on r.stripe_refund_id = o ->> 'id'
        where o ->> 'object' = 'refund'
            and (r.amount_cents, r.status) is distinct from ((o ->> 'amount')::bigint, o ->> 'status');
end
$$;

comment on function billing_private.compare_refunds(jsonb) is 'Refunds that Stripe and we tell differently.';
revoke all on function billing_private.compare_refunds(jsonb) from public;
