-- Invoices never grant: they are a reason to look at the subscription.
create or replace function billing_private.is_known_event(p_type text)
returns boolean
language sql
immutable
as $$
    select p_type in (
        'checkout.session.completed', 'checkout.session.async_payment_succeeded',
        'checkout.session.async_payment_failed', 'checkout.session.expired',
        'payment_intent.succeeded', 'payment_intent.processing', 'payment_intent.payment_failed',
        'payment_intent.canceled',
        'charge.refunded', 'charge.refund.updated', 'refund.created', 'refund.updated', 'refund.failed',
        'charge.dispute.created', 'charge.dispute.updated', 'charge.dispute.closed',
        'charge.dispute.funds_withdrawn', 'charge.dispute.funds_reinstated',
        'customer.subscription.created', 'customer.subscription.updated', 'customer.subscription.deleted',
        'customer.subscription.paused', 'customer.subscription.resumed',
        'invoice.paid', 'invoice.payment_failed'
    )
$$;

comment on function billing_private.is_known_event(text) is 'Whether an event of this type means something to us.';
revoke all on function billing_private.is_known_event(text) from public;
