-- Stripe stands at the lower tier while a downgrade waits, so an upgrade from there would charge the difference twice:
-- it must be taken back first.
-- Raises: UC400 invalid_request, UC404 unknown_tier, UC409 change_pending, UC422 tier_not_for_sale.
create or replace function billing_private.subscription_request(
    p_subscription billing.billing_subscriptions,
    p_change       text,
    p_tier         text
)
returns jsonb
language plpgsql
stable
as $$
declare
    v_request jsonb := jsonb_build_object(
        'subscription_id', p_subscription.stripe_subscription_id, 'item_id', p_subscription.stripe_item_id,
        'change', p_change
    );
    v_rank   integer := (select rank from billing.billing_tiers where name = p_tier);
    v_before integer := (select rank from billing.billing_tiers where name = p_subscription.tier);
begin
    if p_change <> 'tier' then
        return case when p_subscription.cancel_at_period_end = (p_change = 'reactivate') then v_request end;
    elsif p_tier is null then
        perform billing_private.raise_error('invalid_request', 'p_tier must be given.');
    end if;
    v_request := v_request || billing_private.request_price(p_tier, p_subscription.billing_interval)
        || jsonb_build_object('proration', case when v_rank > v_before then 'always_invoice' else 'none' end);
    if p_tier = coalesce(p_subscription.next_tier, p_subscription.tier) then
        return null;
    elsif v_rank > v_before and p_subscription.next_tier is not null then
        perform billing_private.raise_error('change_pending', format(
            'The subscription goes down to tier %s on %s: change it to %s first.', p_subscription.next_tier,
            p_subscription.current_period_end, p_subscription.tier
        ));
    end if;
    return v_request;
end
$$;

comment on function billing_private.subscription_request(billing.billing_subscriptions, text, text) is
    'What Stripe is to change in a subscription; null when it is as wanted.';
revoke all on function billing_private.subscription_request(billing.billing_subscriptions, text, text) from public;
