create or replace function billing_private.compare_disputes(p_objects jsonb)
returns setof billing.difference
language plpgsql
stable
as $$
begin
    return query
        select
            'dispute', o ->> 'id', p.user_id,
            case when d.dispute_id is null then 'dispute_not_booked' else 'dispute_differs' end,
            concat_ws(' ', coalesce(d.amount_cents::text, 'nothing'), d.status),
            format('%s %s', o ->> 'amount', o ->> 'status'), true
        from jsonb_array_elements(p_objects) o
        join billing.billing_payments p on p.payment_intent_id = o ->> 'payment_intent'
        left join billing.billing_disputes d on d.dispute_id = o ->> 'id'
        where o ->> 'object' = 'dispute'
            and (d.amount_cents, d.status) is distinct from ((o ->> 'amount')::bigint, o ->> 'status');
end
$$;

comment on function billing_private.compare_disputes(jsonb) is 'Disputes that Stripe and we tell differently.';
revoke all on function billing_private.compare_disputes(jsonb) from public;
