-- p_stripe_refund is Stripe's Refund. One that failed gives the credits back that the request took, even days later.
-- Locks:  the user's migration, the account, the refund, the payment, until commit.
-- Replay: the same answer again changes nothing.
-- Raises: UC400 invalid_request, UC404 refund_not_found, UC409 payment_mismatch.
create or replace function billing.finish_refund(p_refund_id uuid, p_stripe_refund jsonb)
returns billing.refund
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.read_refund(p_refund_id);
    if p_stripe_refund ->> 'object' is distinct from 'refund' then
        perform billing_private.raise_error('invalid_request', 'p_stripe_refund must be a Refund.');
    end if;
    perform billing_private.take_in_refund(p_stripe_refund, p_refund_id);
    perform billing_private.end_stripe_call(billing_private.pending_call('refund', p_refund_id::text), 'done');
    return billing_private.as_refund(billing_private.read_refund(p_refund_id));
end
$$;

comment on function billing.finish_refund(uuid, jsonb) is
    'Records what Stripe answered to a refund.';
revoke all on function billing.finish_refund(uuid, jsonb) from public;
grant execute on function billing.finish_refund(uuid, jsonb) to billing_api;
