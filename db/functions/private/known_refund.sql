-- A refund is known by its id at Stripe, or by ours in its metadata; one that is neither was made at Stripe itself, and
-- is recorded here. Two sessions that record the same one meet at its unique id.
-- Locks:  the refund, until commit.
-- Raises: UC409 payment_mismatch.
create or replace function billing_private.known_refund(
    p_refund    jsonb,
    p_refund_id uuid,
    p_is_answer boolean,
    p_now       timestamptz
)
returns billing.credit_refunds
language plpgsql
as $$
declare
    -- The first of two refunds that name ours is ours; another one was made at Stripe.
    v_our_id    uuid := (
        select refund_id
        from billing.credit_refunds
        where refund_id = p_refund_id
            and (p_is_answer or coalesce(stripe_refund_id = p_refund ->> 'id', true))
    );
    v_stripe_id text := p_refund ->> 'id';
    v_cents     bigint := (p_refund ->> 'amount')::bigint;
    v_new_id    uuid := billing_private.time_ordered_id(p_now);
    v_refund    billing.credit_refunds;
begin
    if not exists (
        select from billing.credit_refunds where stripe_refund_id = v_stripe_id or refund_id = v_our_id
    ) then
        insert into billing.credit_refunds (
            refund_id, mode, amount, amount_cents, payment_intent_id, stripe_refund_id, status, reason, created_at,
            updated_at
        )
        values (
            v_new_id, 'money', v_cents * 0.01, v_cents, p_refund ->> 'payment_intent', v_stripe_id, 'pending',
            p_refund ->> 'reason', p_now, p_now
        )
        on conflict do nothing;
    end if;
    select * into v_refund
    from billing.credit_refunds
    where stripe_refund_id = v_stripe_id or refund_id = v_our_id
    order by stripe_refund_id = v_stripe_id desc nulls last
    limit 1
    for no key update;
    if (v_refund.payment_intent_id, v_refund.amount_cents) is distinct from (p_refund ->> 'payment_intent', v_cents)
        or v_refund.stripe_refund_id <> v_stripe_id
    then
        perform billing_private.raise_error('payment_mismatch', format(
            'Refund %s is of %s cents of %s; ours, %s, of %s cents of %s.', v_stripe_id, v_cents,
            p_refund ->> 'payment_intent', v_refund.refund_id, v_refund.amount_cents, v_refund.payment_intent_id
        ));
    end if;
    return v_refund;
end
$$;

comment on function billing_private.known_refund(jsonb, uuid, boolean, timestamptz) is
    'Our record of a refund that Stripe tells of, locked; recorded when it is unknown.';
revoke all on function billing_private.known_refund(jsonb, uuid, boolean, timestamptz) from public;
