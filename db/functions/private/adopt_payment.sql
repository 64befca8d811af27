-- Refunds and disputes may be known before the payment that they are of: here they find their user.
-- The caller has locked and settled the account.
create or replace function billing_private.adopt_payment(
    p_account           billing.credit_accounts,
    p_now               timestamptz,
    p_payment_intent_id text,
    p_cause             text,
    p_let_go            boolean
)
returns billing.credit_accounts
language plpgsql
as $$
begin
    update billing.credit_refunds
    set user_id = p_account.user_id
    where payment_intent_id = p_payment_intent_id and user_id is null;
    update billing.billing_disputes
    set user_id = p_account.user_id
    where payment_intent_id = p_payment_intent_id and user_id is null;
    insert into billing.account_freezes (user_id, cause, reference_id, created_at)
    select p_account.user_id, 'dispute', dispute_id, p_now
    from billing.billing_disputes
    where payment_intent_id = p_payment_intent_id and status in ('needs_response', 'under_review')
    on conflict do nothing;
    delete from billing.account_freezes
    where user_id = p_account.user_id
        and cause = 'dispute'
        and reference_id in (
            select dispute_id
            from billing.billing_disputes
            where payment_intent_id = p_payment_intent_id and status not in ('needs_response', 'under_review')
        );
    p_account := billing_private.net_payment(p_account, p_now, p_payment_intent_id, p_cause, p_let_go);
    perform billing_private.tell_refund(refund_id, p_now)
    from billing.credit_refunds
    where payment_intent_id = p_payment_intent_id and mode <> 'credits';
    return billing_private.refresh_status(p_account, p_now);
end
$$;

comment on function billing_private.adopt_payment(billing.credit_accounts, timestamptz, text, text, boolean) is
    'Brings an account to what the refunds and disputes of a payment mean for it; returns the account.';
revoke all on function billing_private.adopt_payment(
    billing.credit_accounts, timestamptz, text, text, boolean
) from public;
