-- Raises: UC404 call_not_found.
create or replace function billing_private.read_stripe_call(p_call_id uuid)
returns billing.stripe_calls
language plpgsql
stable
as $$
declare
    v_call billing.stripe_calls;
begin
    select * into v_call from billing.stripe_calls where call_id = p_call_id;
    if not found then
        perform billing_private.raise_error(
            'call_not_found', format('There is no call %s.', coalesce(p_call_id::text, 'null'))
        );
    end if;
    return v_call;
end
$$;

comment on function billing_private.read_stripe_call(uuid) is 'A call to Stripe, as it is stored.';
revoke all on function billing_private.read_stripe_call(uuid) from public;
