-- Objects that only ever move forward are taken in as the event shows them, in whatever order events come. A
-- subscription moves to and fro, so an event is a reason to fetch it: call_id is that reading.
create or replace function billing_private.take_in_event(
    p_type       text,
    p_object     jsonb,
    p_emitted_at timestamptz
)
returns table (ours boolean, call_id uuid)
language plpgsql
as $$
declare
    v_user_id uuid;
begin
    case
        when p_type like 'checkout.session.%' then
            ours := billing_private.take_in_session(p_object, p_type = 'checkout.session.async_payment_failed');
            v_user_id := (
                select user_id
                from billing.billing_checkouts
                where checkout_id = billing_private.as_uuid(p_object #>> '{metadata,checkout_id}')
                    and status = 'complete'
            );
        when p_type like 'payment_intent.%' then
            ours := billing_private.take_in_intent(p_object);
        when p_type = 'charge.refunded' then
            call_id := billing_private.missing_refunds(p_object);
            ours := exists (
                select from billing.billing_payments where payment_intent_id = p_object ->> 'payment_intent'
            );
        when p_type like 'refund.%' or p_type = 'charge.refund.updated' then
            ours := billing_private.take_in_refund(p_object) is not null;
        when p_type like 'charge.dispute.%' then
            ours := billing_private.take_in_dispute(p_object, p_emitted_at);
        when p_type like 'customer.subscription.%' then
            v_user_id := billing_private.take_in_subscription(p_object, null);
            ours := v_user_id is not null;
        when p_type like 'invoice.%' then
            v_user_id := billing_private.user_of_customer(p_object ->> 'customer');
            ours := v_user_id is not null;
    end case;
    if v_user_id is not null then
        call_id := billing_private.queue_stripe_call(
            v_user_id, 'subscriptions', v_user_id::text, '{}', billing_private.clock()
        );
    end if;
    return next;
end
$$;

comment on function billing_private.take_in_event(text, jsonb, timestamptz) is
    'Takes in the object of an event; whether it is ours, and the call to Stripe that it leads to.';
revoke all on function billing_private.take_in_event(text, jsonb, timestamptz) from public;
