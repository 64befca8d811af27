-- The highest tier among the subscriptions that have not ended, paid ones first. Paused: there is one, and none is
-- paid.
create or replace function billing_private.subscription_standing(p_user_id uuid)
returns table (subscription_id text, tier text, status text, paused boolean)
language plpgsql
stable
as $$
begin
    select s.stripe_subscription_id, s.tier, s.status, s.status not in ('active', 'trialing')
    into subscription_id, tier, status, paused
    from billing.billing_subscriptions s
    join billing.billing_tiers t on t.name = s.tier
    where s.user_id = p_user_id and s.status in ('active', 'trialing', 'past_due', 'unpaid', 'paused')
    order by s.status not in ('active', 'trialing'), t.rank desc, s.stripe_subscription_id
    limit 1;
    paused := coalesce(paused, false);
    return next;
end
$$;

comment on function billing_private.subscription_standing(uuid) is
    'The subscription that counts for a user, its tier, and whether its grants are paused; nulls: there is none.';
revoke all on function billing_private.subscription_standing(uuid) from public;
