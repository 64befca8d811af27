-- The money is there, so the credits are granted whatever the account's status and tier are by now. The caller has
-- locked the account, settled it, and locked the purchase and the payment.
create or replace function billing_private.grant_purchase(
    p_account           billing.credit_accounts,
    p_now               timestamptz,
    p_purchase          billing.credit_purchases,
    p_payment_intent_id text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_entry_no bigint := p_account.entry_count + 1;
    v_grant_no bigint;
begin
    p_account := billing_private.book_grant(
        p_account, p_now, 'purchase', 'purchase',
        array[(null, p_purchase.amount, billing_private.source_priority('purchase'), null, null)]
            ::billing_private.lot[],
        'complete_purchase', p_purchase.purchase_id::text, 'payment_intent', p_payment_intent_id,
        format('%s credits bought', trim_scale(p_purchase.amount)),
        jsonb_build_object('purchase_id', p_purchase.purchase_id, 'price_cents', p_purchase.price_cents)
    );
    v_grant_no := (
        select grant_no from billing.credit_grants where user_id = p_account.user_id and entry_no = v_entry_no
    );
    update billing.credit_purchases
    set status = 'paid', entry_no = v_entry_no, completed_at = p_now, error = null,
        stripe_payment_intent_id = p_payment_intent_id
    where purchase_id = p_purchase.purchase_id;
    update billing.billing_payments
    set purchase_id = p_purchase.purchase_id, bought = p_purchase.amount, grant_no = v_grant_no
    where payment_intent_id = p_payment_intent_id;
    if p_purchase.kind = 'auto_top_up' then
        update billing.billing_auto_top_ups
        set failures = 0, retry_after = null, updated_at = p_now
        where user_id = p_account.user_id;
    end if;
    return p_account;
end
$$;

comment on function billing_private.grant_purchase is
    'Grants the credits of a purchase that is paid; returns the account.';
revoke all on function billing_private.grant_purchase from public;
