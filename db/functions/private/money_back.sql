create or replace function billing_private.money_back(p_payment_intent_id text)
returns table (refunded bigint, owing bigint, lost bigint, disputed boolean)
language plpgsql
stable
as $$
begin
    select
        coalesce(sum(amount_cents), 0)::bigint, coalesce(sum(amount_cents) filter (where owe_spent), 0)::bigint
    into refunded, owing
    from billing.credit_refunds
    where payment_intent_id = p_payment_intent_id and mode <> 'credits' and status not in ('failed', 'canceled');
    select
        coalesce(sum(amount_cents) filter (where status = 'lost'), 0)::bigint,
        coalesce(bool_or(status in ('needs_response', 'under_review')), false)
    into lost, disputed
    from billing.billing_disputes
    where payment_intent_id = p_payment_intent_id;
    return next;
end
$$;

comment on function billing_private.money_back(text) is
    'What refunds and lost disputes of a payment take, in cents, and whether a dispute is open.';
revoke all on function billing_private.money_back(text) from public;
