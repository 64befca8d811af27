-- Everything about migrated users but their credits: purchases and payments, customers and subscriptions, and the
-- record that they have moved.
create or replace function billing_private.record_migrations(
    p_plans     billing_private.migration_plan[],
    p_purchases billing_private.old_purchase[],
    p_accounts  billing_private.migrated_account[],
    p_now       timestamptz
)
returns void
language plpgsql
as $$
begin
    update billing.user_migrations m
    set status = 'migrated',
        round = m.round + 1,
        tier = p.tier,
        period = p.period,
        usage_before = p.usage_before,
        monthly_credits = p.monthly_credits,
        tier_credits = p.tier_credits,
        bought_credit = p.bought_credit,
        purchases = p.purchases,
        -- Of a user who has been here in this month before, what was given then counts on, whatever was handed back.
        month_granted = case
            when not p.has_account and not p.paused then p.monthly_credits
            when p.paused
                then greatest(0, least(p.usage_before, p.monthly_credits)) + case m.status
                    when 'rolled_back' then 0
                    else billing_private.tier_granted(p.user_id, p.period)
                end
            when m.round = 0
                then greatest(p.monthly_credits, billing_private.tier_granted(p.user_id, p.period) - p.tier_credits)
            when m.period = p.period then greatest(p.monthly_credits, m.month_granted)
            else p.monthly_credits
        end,
        first_entry_no = a.first_entry_no,
        last_entry_no = a.last_entry_no,
        migrated_at = p_now
    from unnest(p_plans) p
    join unnest(p_accounts) a on a.user_id = p.user_id
    where m.user_id = p.user_id;
    perform billing_private.record_old_purchases(p_purchases);
    insert into billing.billing_customers (user_id, stripe_customer_id, created_at)
    select p.user_id, p.stripe_customer_id, p_now
    from unnest(p_plans) p
    where p.stripe_customer_id is not null
    on conflict (user_id) do nothing;
    update billing.billing_customers c
    set stripe_customer_id = p.stripe_customer_id
    from unnest(p_plans) p
    -- Of one who returns, the old system knew last.
    where c.user_id = p.user_id and (
        c.stripe_customer_id is null or (p.round > 0 and p.stripe_customer_id <> c.stripe_customer_id)
    );
    perform billing_private.record_old_subscriptions((select array_agg(p.user_id) from unnest(p_plans) p), p_now);
end
$$;

comment on function billing_private.record_migrations is 'Records that users were migrated, and what they bring along.';
revoke all on function billing_private.record_migrations from public;
