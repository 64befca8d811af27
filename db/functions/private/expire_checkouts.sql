-- The caller holds the account's lock.
create or replace function billing_private.expire_checkouts(p_user_id uuid)
returns void
language plpgsql
as $$
declare
    v_checkout_id uuid;
begin
    for v_checkout_id in
        select checkout_id
        from billing.billing_checkouts
        where user_id = p_user_id and status in ('pending', 'open')
    loop
        update billing.billing_checkouts
        set status = 'expired'
        where checkout_id = v_checkout_id and status in ('pending', 'open');
        perform billing_private.end_stripe_call(
            billing_private.pending_call('checkout', v_checkout_id::text), 'failed', 'superseded'
        );
    end loop;
end
$$;

comment on function billing_private.expire_checkouts(uuid) is 'Ends the checkouts that a user has not finished.';
revoke all on function billing_private.expire_checkouts(uuid) from public;
