-- The lots of a payment: the one that it bought, and those that reversals of its usage brought back. Credits under a
-- hold stay. The caller has locked and settled the account.
create or replace function billing_private.take_clawback(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_payment billing.billing_payments,
    p_amount  numeric,
    p_cause   text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_left  numeric := least(p_amount, p_account.balance - p_account.held);
    v_taken numeric;
    v_lot   record;
begin
    for v_lot in
        select grant_no, remaining
        from billing.credit_grants
        where user_id = p_account.user_id and remaining > 0 and p_payment.grant_no in (grant_no, from_grant_no)
        order by priority, expires_at nulls last, grant_no
    loop
        v_taken := least(v_lot.remaining, v_left);
        exit when (v_taken > 0) is not true;
        v_left := v_left - v_taken;
        p_account := billing_private.take_from_lot(
            p_account, p_now, 'clawback', v_lot.grant_no, v_taken, 'net_payment',
            jsonb_build_object('payment_intent_id', p_payment.payment_intent_id, 'cause', p_cause),
            format('Taken back: %s of payment %s', p_cause, p_payment.payment_intent_id)
        );
    end loop;
    return p_account;
end
$$;

comment on function billing_private.take_clawback is
    'Takes credits back from the lots of a payment, as far as they are there; returns the account.';
revoke all on function billing_private.take_clawback from public;
