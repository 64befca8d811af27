create or replace function billing_private.as_migration(
    p_plan    billing_private.migration_plan,
    p_outcome text,
    p_balance numeric
)
returns billing.migration
language sql
immutable
as $$
    select (
        p_plan.user_id, case when p_plan.problem is null then p_outcome else 'refused' end, p_plan.problem,
        p_plan.detail, p_plan.tier, p_plan.subscription_status, p_plan.usage_before, p_plan.monthly_credits,
        p_plan.tier_credits, p_plan.bought_credit, p_plan.purchases, case when p_plan.problem is null then p_balance end
    )::billing.migration
$$;

comment on function billing_private.as_migration(billing_private.migration_plan, text, numeric) is
    'A planned migration as the SQL API tells it.';
revoke all on function billing_private.as_migration(billing_private.migration_plan, text, numeric) from public;
