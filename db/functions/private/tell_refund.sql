-- Told once, however often Stripe tells it. The caller holds the lock of the account.
create or replace function billing_private.tell_refund(p_refund_id uuid, p_now timestamptz)
returns void
language plpgsql
as $$
declare
    v_refund billing.credit_refunds;
    v_kind   text;
begin
    select * into v_refund from billing.credit_refunds where refund_id = p_refund_id;
    v_kind := case
        when v_refund.status = 'succeeded' then 'refund.succeeded'
        when v_refund.status in ('failed', 'canceled') then 'refund.failed'
    end;
    if v_refund.user_id is not null and v_kind <> coalesce(v_refund.told, '') then
        perform billing_private.emit_event(v_refund.user_id, p_now, v_kind, jsonb_build_object(
            'refund_id', p_refund_id, 'mode', v_refund.mode, 'amount', trim_scale(v_refund.amount),
            'amount_cents', v_refund.amount_cents, 'payment_intent_id', v_refund.payment_intent_id,
            'status', v_refund.status
        ));
        update billing.credit_refunds set told = v_kind where refund_id = p_refund_id;
    end if;
end
$$;

comment on function billing_private.tell_refund(uuid, timestamptz) is
    'Records the event of a refund that has succeeded or failed, once.';
revoke all on function billing_private.tell_refund(uuid, timestamptz) from public;
