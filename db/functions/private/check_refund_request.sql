-- Raises: UC400 invalid_request, UC422 amount_not_positive, amount_too_precise, amount_too_large,
--         amount_not_whole_cents, reason_required.
create or replace function billing_private.check_refund_request(
    p_actor             uuid,
    p_reason            text,
    p_amount            numeric,
    p_mode              text,
    p_payment_intent_id text,
    p_idempotency_key   text
)
returns void
language plpgsql
immutable
as $$
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_texts(
        p_reference_id => p_payment_intent_id, p_idempotency_key => p_idempotency_key
    );
    perform billing_private.check_amount(p_amount);
    if p_mode <> 'credits' and (p_payment_intent_id ~ '\S') is not true then
        perform billing_private.raise_error(
            'invalid_request', 'p_payment_intent_id must name the payment that is refunded.'
        );
    elsif p_mode <> 'credits' and p_amount <> round(p_amount, 2) then
        perform billing_private.raise_error('amount_not_whole_cents', format('The amount is %s.', p_amount));
    end if;
end
$$;

comment on function billing_private.check_refund_request(uuid, text, numeric, text, text, text) is
    'Raises when a request for a refund is malformed.';
revoke all on function billing_private.check_refund_request(uuid, text, numeric, text, text, text) from public;
