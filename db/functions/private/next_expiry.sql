create or replace function billing_private.next_expiry(p_user_id uuid, p_after timestamptz)
returns timestamptz
language plpgsql
stable
as $$
declare
    v_lot  timestamptz;
    v_hold timestamptz;
begin
    select min(expires_at) into v_lot
    from billing.credit_grants
    where user_id = p_user_id and remaining > 0 and expires_at > p_after;
    select min(expires_at) into v_hold
    from billing.credit_holds
    where user_id = p_user_id and status = 'active' and expires_at > p_after;
    return least(v_lot, v_hold);
end
$$;

comment on function billing_private.next_expiry(uuid, timestamptz) is
    'The earliest time ahead at which a lot or a hold of the account ends.';
revoke all on function billing_private.next_expiry(uuid, timestamptz) from public;
