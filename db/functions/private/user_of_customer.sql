create or replace function billing_private.user_of_customer(p_stripe_customer_id text)
returns uuid
language plpgsql
stable
as $$
begin
    return (select user_id from billing.billing_customers where stripe_customer_id = p_stripe_customer_id);
end
$$;

comment on function billing_private.user_of_customer(text) is 'The user whose customer at Stripe this is; null: none.';
revoke all on function billing_private.user_of_customer(text) from public;
