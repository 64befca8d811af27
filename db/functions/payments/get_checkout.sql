-- Raises: UC404 checkout_not_found.
create or replace function billing.get_checkout(p_user_id uuid, p_checkout_id uuid)
returns billing.checkout
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_checkout billing.billing_checkouts := billing_private.read_checkout(p_checkout_id);
begin
    if v_checkout.user_id is distinct from p_user_id then
        perform billing_private.raise_error(
            'checkout_not_found', format('User %s has no checkout %s.', p_user_id, p_checkout_id)
        );
    end if;
    return billing_private.as_checkout(v_checkout, false);
end
$$;

comment on function billing.get_checkout(uuid, uuid) is
    'A checkout of a subscription.';
revoke all on function billing.get_checkout(uuid, uuid) from public;
grant execute on function billing.get_checkout(uuid, uuid) to billing_api;
