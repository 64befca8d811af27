-- Raises: UC409 idempotency_key_reused.
create or replace function billing_private.replay_refund(
    p_refund            billing.credit_refunds,
    p_account           billing.credit_accounts,
    p_actor             uuid,
    p_amount            numeric,
    p_mode              text,
    p_payment_intent_id text,
    p_owe_spent         boolean
)
returns billing.refund_result
language plpgsql
stable
as $$
begin
    if (
        p_refund.requested_by, p_refund.amount::numeric, p_refund.mode, p_refund.payment_intent_id, p_refund.owe_spent
    )
        is distinct from
        (
            p_actor, p_amount, p_mode, case when p_mode <> 'credits' then p_payment_intent_id end,
            p_mode <> 'credits' and coalesce(p_owe_spent, false)
        )
    then
        perform billing_private.raise_error('idempotency_key_reused', format(
            'Key %L of user %s belongs to refund %s.', p_refund.idempotency_key, p_refund.user_id, p_refund.refund_id
        ));
    end if;
    return billing_private.as_refund_result(p_refund, p_account, null, true);
end
$$;

comment on function billing_private.replay_refund is 'The result of the refund that has the key.';
revoke all on function billing_private.replay_refund from public;
