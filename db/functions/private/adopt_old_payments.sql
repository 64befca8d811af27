-- Refunds and disputes of an old purchase may be known before its user is migrated. The caller has recorded the
-- purchases.
create or replace function billing_private.adopt_old_payments(p_purchases billing_private.old_purchase[])
returns void
language plpgsql
as $$
declare
    v_payment record;
    v_account billing.credit_accounts;
    v_now     timestamptz;
begin
    for v_payment in
        select p.user_id, p.payment_intent_id
        from unnest(p_purchases) o
        join billing.billing_payments p on p.payment_intent_id = o.stripe_payment_intent_id and p.user_id = o.user_id
        where exists (
                select from billing.credit_refunds r
                where r.payment_intent_id = p.payment_intent_id and r.mode <> 'credits'
            )
            or exists (select from billing.billing_disputes d where d.payment_intent_id = p.payment_intent_id)
        order by p.user_id, p.payment_intent_id
    loop
        v_account := billing_private.lock_account(v_payment.user_id, true);
        v_now := greatest(billing_private.clock(), v_account.updated_at);
        v_account := billing_private.settle_account(v_account, v_now);
        perform billing_private.adopt_payment(
            v_account, v_now, v_payment.payment_intent_id, 'refund or dispute', true
        );
    end loop;
end
$$;

comment on function billing_private.adopt_old_payments(billing_private.old_purchase[]) is
    'Brings migrated accounts to what the refunds and disputes of their old payments mean for them.';
revoke all on function billing_private.adopt_old_payments(billing_private.old_purchase[]) from public;
