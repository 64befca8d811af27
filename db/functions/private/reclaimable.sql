-- total: what goes back because the money did. firm: the part of it that must come back, as debt if need be.
-- div() is exact and cuts; a quotient of numerics would be rounded.
create or replace function billing_private.reclaimable(p_payment billing.billing_payments)
returns table (total numeric, firm numeric)
language plpgsql
stable
as $$
declare
    v_money record;
begin
    select * into v_money from billing_private.money_back(p_payment.payment_intent_id);
    total := trim_scale(div(
        p_payment.bought * 1000000000 * least(p_payment.amount_cents, v_money.refunded + v_money.lost),
        p_payment.amount_cents
    ) * 0.000000001);
    firm := trim_scale(div(
        p_payment.bought * 1000000000 * least(p_payment.amount_cents, v_money.owing + v_money.lost),
        p_payment.amount_cents
    ) * 0.000000001);
    return next;
end
$$;

comment on function billing_private.reclaimable(billing.billing_payments) is
    'The credits of a payment that refunds and lost disputes ask back.';
revoke all on function billing_private.reclaimable(billing.billing_payments) from public;
