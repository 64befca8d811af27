-- Raises: UC404 checkout_not_found.
create or replace function billing_private.read_checkout(p_checkout_id uuid)
returns billing.billing_checkouts
language plpgsql
stable
as $$
declare
    v_checkout billing.billing_checkouts;
begin
    select * into v_checkout from billing.billing_checkouts where checkout_id = p_checkout_id;
    if not found then
        perform billing_private.raise_error(
            'checkout_not_found', format('There is no checkout %s.', coalesce(p_checkout_id::text, 'null'))
        );
    end if;
    return v_checkout;
end
$$;

comment on function billing_private.read_checkout(uuid) is 'A checkout of a subscription, as it is stored.';
revoke all on function billing_private.read_checkout(uuid) from public;
