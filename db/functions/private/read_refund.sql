-- Raises: UC404 refund_not_found.
create or replace function billing_private.read_refund(p_refund_id uuid)
returns billing.credit_refunds
language plpgsql
stable
as $$
declare
    v_refund billing.credit_refunds;
begin
    select * into v_refund from billing.credit_refunds where refund_id = p_refund_id;
    if not found then
        perform billing_private.raise_error(
            'refund_not_found', format('There is no refund %s.', coalesce(p_refund_id::text, 'null'))
        );
    end if;
    return v_refund;
end
$$;

comment on function billing_private.read_refund(uuid) is 'A refund, as it is stored.';
revoke all on function billing_private.read_refund(uuid) from public;
