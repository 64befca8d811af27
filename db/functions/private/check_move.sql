-- Raises: UC400 invalid_request, UC422 amount_zero, amount_not_positive, amount_too_precise, amount_too_large,
--         reason_required.
create or replace function billing_private.check_move(
    p_operation       text,
    p_actor           uuid,
    p_amount          numeric,
    p_reason          text,
    p_idempotency_key text
)
returns void
language plpgsql
immutable
as $$
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key);
    if p_operation = 'admin_grant_credits' then
        perform billing_private.check_amount(p_amount);
        return;
    elsif p_amount = 0 then
        perform billing_private.raise_error('amount_zero', 'The amount is 0.');
    end if;
    perform billing_private.check_amount(abs(p_amount));
end
$$;

comment on function billing_private.check_move(text, uuid, numeric, text, text) is
    'Raises when an adjustment or a grant of an admin is malformed.';
revoke all on function billing_private.check_move(text, uuid, numeric, text, text) from public;
