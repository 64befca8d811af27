-- The answer has the id at Stripe, or the call that is to make the customer there.
-- Locks:  the customer, until commit, so that nobody answers the call that waits between the look at the id and the
--         look for that call.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.request_customer(p_user_id uuid)
returns billing.customer
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now         timestamptz := billing_private.clock();
    v_customer_id text;
    v_call_id     uuid;
begin
    perform billing_private.check_not_rolled_back(billing_private.read_account(p_user_id));
    insert into billing.billing_customers (user_id, created_at) values (p_user_id, v_now) on conflict do nothing;
    select stripe_customer_id into v_customer_id
    from billing.billing_customers
    where user_id = p_user_id
    for no key update;
    if v_customer_id is null then
        v_call_id := billing_private.queue_stripe_call(
            p_user_id, 'customer', p_user_id::text, jsonb_build_object('user_id', p_user_id), v_now
        );
    end if;
    return (p_user_id, v_customer_id, v_call_id)::billing.customer;
end
$$;

comment on function billing.request_customer(uuid) is
    'A user''s customer at Stripe, wanted on first need.';
revoke all on function billing.request_customer(uuid) from public;
grant execute on function billing.request_customer(uuid) to billing_api;
