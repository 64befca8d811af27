-- Raises: UC404 purchase_not_found.
create or replace function billing_private.read_purchase(p_purchase_id uuid)
returns billing.credit_purchases
language plpgsql
stable
as $$
declare
    v_purchase billing.credit_purchases;
begin
    select * into v_purchase from billing.credit_purchases where purchase_id = p_purchase_id;
    if not found then
        perform billing_private.raise_error(
            'purchase_not_found', format('There is no purchase %s.', coalesce(p_purchase_id::text, 'null'))
        );
    end if;
    return v_purchase;
end
$$;

comment on function billing_private.read_purchase(uuid) is 'A purchase, as it is stored.';
revoke all on function billing_private.read_purchase(uuid) from public;
