-- The answer's call_id is the reading at Stripe that is to be done.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.request_sync(p_user_id uuid)
returns billing.subscription
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_not_rolled_back(billing_private.read_account(p_user_id));
    return billing_private.as_subscription(
        p_user_id,
        billing_private.queue_stripe_call(
            p_user_id, 'subscriptions', p_user_id::text, '{}', billing_private.clock()
        )
    );
end
$$;

comment on function billing.request_sync(uuid) is
    'Records that a user''s subscriptions are to be fetched from Stripe.';
revoke all on function billing.request_sync(uuid) from public;
grant execute on function billing.request_sync(uuid) to billing_api;
