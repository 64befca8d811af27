-- Notes on the refund what it took when it first counted. The caller has locked and settled the account.
create or replace function billing_private.net_refund(
    p_account   billing.credit_accounts,
    p_now       timestamptz,
    p_refund_id uuid
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_refund billing.credit_refunds;
    v_before billing.billing_payments;
    v_after  billing.billing_payments;
begin
    select * into v_refund from billing.credit_refunds where refund_id = p_refund_id;
    select * into v_before from billing.billing_payments where payment_intent_id = v_refund.payment_intent_id;
    p_account := billing_private.adopt_payment(
        p_account, p_now, v_refund.payment_intent_id, 'refund', not v_refund.owe_spent
    );
    select * into v_after from billing.billing_payments where payment_intent_id = v_refund.payment_intent_id;
    update billing.credit_refunds
    set clawed = v_after.clawed - v_before.clawed,
        owed = v_after.owed - v_before.owed,
        spent = (v_after.reclaimed - v_after.clawed - v_after.owed)
            - (v_before.reclaimed - v_before.clawed - v_before.owed)
    where refund_id = p_refund_id and v_after.reclaimed > v_before.reclaimed
        and v_after.clawed >= v_before.clawed and v_after.owed >= v_before.owed
        and v_after.reclaimed - v_after.clawed - v_after.owed >= v_before.reclaimed - v_before.clawed - v_before.owed;
    return p_account;
end
$$;

comment on function billing_private.net_refund(billing.credit_accounts, timestamptz, uuid) is
    'Brings the credits of a payment to what a refund of it means; returns the account.';
revoke all on function billing_private.net_refund(billing.credit_accounts, timestamptz, uuid) from public;
