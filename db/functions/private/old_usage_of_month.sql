create or replace function billing_private.old_usage_of_month(p_user_id uuid, p_period date)
returns numeric
language plpgsql
stable
as $$
begin
    return (
        select coalesce(sum(cost), 0)
        from legacy_billing.legacy_usage
        where user_id = p_user_id
            and created_at >= p_period::timestamp at time zone 'UTC'
            and created_at < (p_period + interval '1 month') at time zone 'UTC'
    );
end
$$;

comment on function billing_private.old_usage_of_month(uuid, date) is
    'What the old system counted for a user in a calendar month (UTC), in US dollars.';
revoke all on function billing_private.old_usage_of_month(uuid, date) from public;
