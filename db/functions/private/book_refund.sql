-- The caller has locked and settled the account, and decided; refused or not, it is logged.
create or replace function billing_private.book_refund(
    p_account billing.credit_accounts,
    p_refund  billing.credit_refunds,
    p_refusal text,
    p_now     timestamptz,
    p_consent billing_private.consent
)
returns billing.refund_result
language plpgsql
as $$
begin
    if p_refusal is null then
        p_refund.status := case p_refund.mode when 'credits' then 'succeeded' else 'requested' end;
        if p_refund.mode <> 'money' then
            perform billing_private.count_admin_total(p_refund.requested_by, p_refund.amount, p_now);
            p_refund.entry_no := p_account.entry_count + 1;
            p_account := billing_private.book_grant(
                p_account, p_now, 'refund', 'refund',
                array[(null, p_refund.amount, billing_private.source_priority('refund'), null, null)]
                    ::billing_private.lot[],
                'request_refund', p_refund.refund_id::text, 'refund', p_refund.refund_id::text, p_refund.reason,
                jsonb_build_object('action_id', p_refund.action_id), p_refund.requested_by
            );
        end if;
        insert into billing.credit_refunds (
            refund_id, user_id, mode, amount, amount_cents, payment_intent_id, status, owe_spent, requested_by, reason,
            idempotency_key, action_id, entry_no, created_at, updated_at
        )
        values (
            p_refund.refund_id, p_refund.user_id, p_refund.mode, p_refund.amount, p_refund.amount_cents,
            p_refund.payment_intent_id, p_refund.status, p_refund.owe_spent, p_refund.requested_by, p_refund.reason,
            p_refund.idempotency_key, p_refund.action_id, p_refund.entry_no, p_now, p_now
        );
        if p_refund.mode <> 'credits' then
            p_account := billing_private.net_refund(p_account, p_now, p_refund.refund_id);
            perform billing_private.queue_stripe_call(
                p_refund.user_id, 'refund', p_refund.refund_id::text,
                jsonb_build_object(
                    'refund_id', p_refund.refund_id, 'payment_intent', p_refund.payment_intent_id,
                    'amount_cents', p_refund.amount_cents
                ),
                p_now
            );
        end if;
        perform billing_private.tell_refund(p_refund.refund_id, p_now);
        p_refund := billing_private.read_refund(p_refund.refund_id);
    end if;
    perform billing_private.log_admin_action(
        p_refund.action_id, p_now, p_refund.requested_by, p_account.user_id, 'request_refund', p_refund.amount,
        p_refund.reason, coalesce(p_refusal, 'done'),
        jsonb_build_object(
            'refund_id', case when p_refusal is null then p_refund.refund_id end, 'mode', p_refund.mode,
            'payment_intent_id', p_refund.payment_intent_id, 'entry_no', p_refund.entry_no, 'clawed', p_refund.clawed,
            'spent', p_refund.spent, 'owed', p_refund.owed, 'balance_after', p_account.balance,
            'idempotency_key', p_refund.idempotency_key, 'approval_id', (p_consent).approval_id,
            'requested_by', (p_consent).requested_by
        )
    );
    return billing_private.as_refund_result(p_refund, p_account, p_refusal, false);
end
$$;

comment on function billing_private.book_refund is
    'Books a refund that was decided, and logs it; returns what it did.';
revoke all on function billing_private.book_refund from public;
