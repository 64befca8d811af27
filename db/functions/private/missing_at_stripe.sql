-- None of these can be put right by taking Stripe's word: there is none.
create or replace function billing_private.missing_at_stripe(
    p_objects jsonb,
    p_from    timestamptz,
    p_to      timestamptz
)
returns setof billing.difference
language plpgsql
stable
as $$
begin
    return query
        with
        theirs as (select o ->> 'id' as id from jsonb_array_elements(p_objects) o),
        ours as (
            select
                'payment' as kind, payment_intent_id as id, user_id, 'payment_not_at_stripe' as problem,
                format('%s %s', amount_cents, currency) as ours
            from billing.billing_payments
            where created_at >= p_from and created_at < p_to
            union all
            select
                'refund', coalesce(stripe_refund_id, refund_id::text), user_id,
                case when stripe_refund_id is null then 'refund_waits' else 'refund_not_at_stripe' end,
                format('%s %s', amount_cents, status)
            from billing.credit_refunds
            where mode <> 'credits' and user_id is not null and created_at >= p_from and created_at < p_to
                and (stripe_refund_id is not null or status = 'requested')
            union all
            select 'dispute', dispute_id, user_id, 'dispute_not_at_stripe', format('%s %s', amount_cents, status)
            from billing.billing_disputes
            where user_id is not null and created_at >= p_from and created_at < p_to
            union all
            select 'subscription', stripe_subscription_id, user_id, 'subscription_not_at_stripe', status
            from billing.billing_subscriptions
            where status not in ('canceled', 'incomplete_expired') and created_at < p_to
        )
        select ours.kind, ours.id, ours.user_id, ours.problem, ours.ours, 'nothing', false
        from ours
        where not exists (select from theirs where theirs.id = ours.id);
end
$$;

comment on function billing_private.missing_at_stripe(jsonb, timestamptz, timestamptz) is
    'What we have and Stripe has not.';
revoke all on function billing_private.missing_at_stripe(jsonb, timestamptz, timestamptz) from public;
