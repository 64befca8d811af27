-- Raises: UC404 purchase_not_found.
create or replace function billing.get_purchase(p_user_id uuid, p_purchase_id uuid)
returns billing.purchase
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_purchase billing.credit_purchases := billing_private.read_purchase(p_purchase_id);
begin
    if v_purchase.user_id is distinct from p_user_id then
        perform billing_private.raise_error(
            'purchase_not_found', format('User %s has no purchase %s.', p_user_id, p_purchase_id)
        );
    end if;
    return billing_private.as_purchase(v_purchase, false);
end
$$;

comment on function billing.get_purchase(uuid, uuid) is
    'A purchase of a user.';
revoke all on function billing.get_purchase(uuid, uuid) from public;
grant execute on function billing.get_purchase(uuid, uuid) to billing_api;
