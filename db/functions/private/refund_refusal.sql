-- Locks: the payment, until commit. The sum of its refunds and lost disputes is never more than what was paid.
create or replace function billing_private.refund_refusal(
    p_account           billing.credit_accounts,
    p_amount            numeric,
    p_mode              text,
    p_payment_intent_id text
)
returns text
language plpgsql
as $$
declare
    v_payment billing.billing_payments;
    v_money   record;
begin
    if p_mode <> 'money' and p_account.status = 'closed' then
        return 'account_closed';
    elsif p_mode = 'credits' then
        return null;
    end if;
    select * into v_payment
    from billing.billing_payments
    where payment_intent_id = p_payment_intent_id
    for no key update;
    if (v_payment.user_id = p_account.user_id and v_payment.currency = 'usd') is not true then
        return 'payment_not_found';
    end if;
    select * into v_money from billing_private.money_back(p_payment_intent_id);
    return case
        when v_money.disputed then 'payment_disputed'
        when v_money.refunded + v_money.lost + p_amount * 100 > v_payment.amount_cents then 'refund_exceeds_payment'
        -- The old system has given the money back.
        when exists (
            select from billing.credit_purchases
            where stripe_payment_intent_id = p_payment_intent_id and status = 'refunded'
        ) then 'refund_exceeds_payment'
    end;
end
$$;

comment on function billing_private.refund_refusal(billing.credit_accounts, numeric, text, text) is
    'Why a payment cannot be refunded by an amount; null when it can.';
revoke all on function billing_private.refund_refusal(billing.credit_accounts, numeric, text, text) from public;
