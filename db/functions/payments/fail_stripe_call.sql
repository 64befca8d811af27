-- A refund that Stripe refuses gives the credits back that the request took; an automatic top-up is turned off.
-- Locks:  the user's migration, the account, the refund, the payment, then the call, until commit.
-- Replay: a call that has ended is returned as it is.
-- Raises: UC404 call_not_found.
create or replace function billing.fail_stripe_call(p_call_id uuid, p_error text, p_code text default null)
returns billing.stripe_call
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_call billing.stripe_calls := billing_private.read_stripe_call(p_call_id);
    v_id   uuid := billing_private.as_uuid(v_call.subject_id);
begin
    if v_call.status = 'pending' then
        case v_call.kind
            when 'purchase' then
                perform billing_private.move_purchase(v_id, 'failed', p_error => p_error);
            when 'checkout' then
                update billing.billing_checkouts
                set status = 'failed', error = left(p_error, 2000)
                where checkout_id = v_id and status in ('pending', 'open');
            when 'refund' then
                perform billing_private.fail_refund(v_id, p_error);
            when 'top_up' then
                perform billing_private.fail_top_up(
                    billing_private.read_purchase(v_id), coalesce(p_code, 'refused'), p_error
                );
            else null;
        end case;
        perform billing_private.end_stripe_call(p_call_id, 'failed', p_error);
    end if;
    return billing_private.as_stripe_call(
        billing_private.read_stripe_call(p_call_id), billing_private.clock()
    );
end
$$;

comment on function billing.fail_stripe_call(uuid, text, text) is
    'Ends a call that Stripe refuses for good, and undoes what waited for it.';
revoke all on function billing.fail_stripe_call(uuid, text, text) from public;
grant execute on function billing.fail_stripe_call(uuid, text, text) to billing_api;
