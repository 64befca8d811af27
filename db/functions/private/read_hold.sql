-- Raises: UC404 hold_not_found.
create or replace function billing_private.read_hold(p_user_id uuid, p_hold_id uuid)
returns billing.credit_holds
language plpgsql
stable
as $$
declare
    v_hold billing.credit_holds;
begin
    select * into v_hold
    from billing.credit_holds
    where user_id = p_user_id and hold_id = p_hold_id;
    if not found then
        perform billing_private.raise_error('hold_not_found', format(
            'User %s has no hold %s.', p_user_id, coalesce(p_hold_id::text, 'null')
        ));
    end if;
    return v_hold;
end
$$;

comment on function billing_private.read_hold(uuid, uuid) is 'A hold of a locked account.';
revoke all on function billing_private.read_hold(uuid, uuid) from public;
