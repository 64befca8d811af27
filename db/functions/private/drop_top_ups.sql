-- A charge that was tried runs to its end: it may have had its effect. The caller holds the account's lock.
create or replace function billing_private.drop_top_ups(p_user_id uuid, p_reason text)
returns void
language plpgsql
as $$
declare
    v_purchase_id uuid;
    v_call_id     uuid;
begin
    for v_purchase_id in
        select purchase_id
        from billing.credit_purchases
        where user_id = p_user_id and kind = 'auto_top_up' and status = 'pending'
    loop
        select call_id into v_call_id
        from billing.stripe_calls
        where kind = 'top_up' and subject_id = v_purchase_id::text and status = 'pending' and tries = 0
        for no key update;
        if found then
            update billing.credit_purchases set status = 'failed', error = p_reason where purchase_id = v_purchase_id;
            perform billing_private.end_stripe_call(v_call_id, 'failed', p_reason);
        end if;
    end loop;
end
$$;

comment on function billing_private.drop_top_ups(uuid, text) is
    'Ends the automatic top-ups of a user that were not tried yet.';
revoke all on function billing_private.drop_top_ups(uuid, text) from public;
