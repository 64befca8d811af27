create or replace function billing_private.old_limit(p_user_id uuid)
returns numeric
language plpgsql
stable
as $$
begin
    return coalesce(
        (select max(monthly_limit) from legacy_billing.legacy_customers where user_id = p_user_id),
        -- Where the view tells none, and for a stranger, it is what the free tier has here.
        (select monthly_credits from billing.billing_tiers where name = 'free'),
        0
    );
end
$$;

comment on function billing_private.old_limit(uuid) is
    'What a user may use in a month in the old system, in US dollars: the highest of the limits that are paid for.';
revoke all on function billing_private.old_limit(uuid) from public;
