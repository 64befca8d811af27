create or replace function billing_private.as_refund(p_refund billing.credit_refunds)
returns billing.refund
language sql
immutable
as $$
    select (
        p_refund.refund_id, p_refund.user_id, p_refund.mode, p_refund.amount, p_refund.amount_cents,
        p_refund.payment_intent_id, p_refund.stripe_refund_id, p_refund.status, p_refund.requested_by,
        p_refund.reason, p_refund.entry_no, p_refund.clawed, p_refund.spent, p_refund.owed, p_refund.error,
        p_refund.created_at, p_refund.updated_at
    )::billing.refund
$$;

comment on function billing_private.as_refund(billing.credit_refunds) is 'A refund as the SQL API tells it.';
revoke all on function billing_private.as_refund(billing.credit_refunds) from public;
