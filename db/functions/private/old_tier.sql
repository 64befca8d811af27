create or replace function billing_private.old_tier(p_user_id uuid)
returns text
language plpgsql
stable
as $$
begin
    return coalesce(
        (
            select tier
            from legacy_billing.legacy_customers
            where user_id = p_user_id and subscription_status in ('active', 'trialing')
            order by monthly_limit desc, price_id
            limit 1
        ),
        'free'
    );
end
$$;

comment on function billing_private.old_tier(uuid) is 'The tier that a user pays for in the old system.';
revoke all on function billing_private.old_tier(uuid) from public;
