-- What is older than what stands here changes nothing. p_seen_at is when Stripe was asked; null is an event, which may
-- be late: it raises the tier within the period that stands here, or ends what has ended, which is right in any order,
-- and nothing else. A subscription to something else than a tier, which did not begin here, is none of ours.
-- Locks:  the account, the subscription, until commit.
-- Raises: UC400 invalid_request, UC404 customer_not_found, account_not_found, unknown_tier, UC409 not_migrated.
create or replace function billing_private.take_in_subscription(p_subscription jsonb, p_seen_at timestamptz)
returns uuid
language plpgsql
as $$
declare
    v_user_id uuid := billing_private.user_of_customer(p_subscription ->> 'customer');
    v_tier    text := billing_private.tier_of_price(p_subscription #> '{items,data,0,price}');
    v_account billing.credit_accounts;
    v_now     timestamptz;
    v_late    boolean := false;
    v_before  record;
    v_after   record;
begin
    perform billing_private.check_stripe_object(
        p_subscription,
        '{id, status, customer, "items,data,0,id", "items,data,0,price,id"}',
        '{created, "items,data,0,current_period_start", "items,data,0,current_period_end"}'
    );
    -- What has ended needs no tier of today: what stands here is what it was.
    if p_subscription ->> 'status' in ('canceled', 'incomplete_expired') then
        v_tier := coalesce(v_tier, (
            select tier from billing.billing_subscriptions where stripe_subscription_id = p_subscription ->> 'id'
        ));
    end if;
    if v_tier is null and p_subscription ->> 'status' in ('canceled', 'incomplete_expired') then
        return null;
    elsif v_tier is null and p_subscription #> '{metadata,checkout_id}' is null and not exists (
        select from billing.billing_subscriptions where stripe_subscription_id = p_subscription ->> 'id'
    ) then
        return null;
    elsif v_tier is null then
        perform billing_private.raise_error('unknown_tier', format(
            'The price of subscription %s has neither metadata.tier nor the lookup_key of a tier.',
            p_subscription ->> 'id'
        ));
    elsif v_user_id is null and exists (
        select from legacy_billing.legacy_customers where stripe_customer_id = p_subscription ->> 'customer'
    ) then
        -- Of a user who waits in the old system; the migration asks Stripe again.
        return null;
    elsif v_user_id is null then
        perform billing_private.raise_error('customer_not_found', format(
            'Subscription %s is of customer %s.', p_subscription ->> 'id', p_subscription ->> 'customer'
        ));
    end if;
    v_account := billing_private.lock_account(v_user_id, true);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    select * into v_before from billing_private.subscription_standing(v_user_id);
    if p_seen_at is null then
        v_late := billing_private.advance_subscription(p_subscription, v_tier, v_now);
    else
        perform billing_private.save_subscription(p_subscription, v_user_id, v_tier, p_seen_at, v_now);
    end if;
    select * into v_after from billing_private.subscription_standing(v_user_id);
    if v_before.tier is distinct from v_after.tier or v_before.paused <> v_after.paused then
        v_account := billing_private.settle_account(v_account, v_now);
        perform billing_private.follow_subscription(
            v_account, v_now, v_before.tier, v_after.tier,
            v_before.paused and (
                v_before.subscription_id is distinct from v_after.subscription_id
                or v_before.status in ('unpaid', 'paused')
            )
        );
    elsif v_late and v_account.status <> 'closed' then
        perform billing_private.grant_late_upgrade(v_account, v_now, v_tier, p_subscription ->> 'id');
    end if;
    perform billing_private.forward_to_old_system(v_user_id, p_subscription ->> 'id');
    return v_user_id;
end
$$;

comment on function billing_private.take_in_subscription(jsonb, timestamptz) is
    'Takes in a subscription as Stripe tells it, and what it means for the account; the user, null: none of ours.';
revoke all on function billing_private.take_in_subscription(jsonb, timestamptz) from public;
