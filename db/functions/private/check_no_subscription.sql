-- A checkout that was completed is a subscription that is about to be read.
-- Raises: UC409 change_pending, subscription_exists.
create or replace function billing_private.check_no_subscription(p_user_id uuid)
returns void
language plpgsql
stable
as $$
declare
    v_standing record;
begin
    select * into v_standing from billing_private.subscription_standing(p_user_id);
    if v_standing.subscription_id is not null then
        perform billing_private.raise_error('subscription_exists', format(
            'User %s has subscription %s to tier %s.', p_user_id, v_standing.subscription_id, v_standing.tier
        ));
    elsif exists (select from billing.billing_checkouts where user_id = p_user_id and status = 'complete')
        and exists (
            select from billing.stripe_calls
            where kind = 'subscriptions' and subject_id = p_user_id::text and status = 'pending'
        )
    then
        perform billing_private.raise_error(
            'change_pending', format('User %s has just subscribed; Stripe is being asked.', p_user_id)
        );
    end if;
end
$$;

comment on function billing_private.check_no_subscription(uuid) is 'Raises when a user has a subscription.';
revoke all on function billing_private.check_no_subscription(uuid) from public;
