create or replace function billing_private.users_without_customer()
returns table (user_id uuid, calls bigint, purchases bigint)
language plpgsql
stable
as $$
begin
    return query
        select o.user_id, sum(o.calls)::bigint, sum(o.purchases)::bigint
        from (
            select u.user_id, count(*) as calls, 0 as purchases
            from legacy_billing.legacy_usage u
            group by u.user_id
            union all
            select p.user_id, 0, count(*)
            from legacy_billing.legacy_purchases p
            group by p.user_id
        ) o
        where o.user_id is not null
            and not exists (select from legacy_billing.legacy_customers c where c.user_id = o.user_id)
        group by o.user_id
        order by o.user_id;
end
$$;

comment on function billing_private.users_without_customer() is
    'Users of whom the old system has calls or purchases, but no customer: nothing would migrate them.';
revoke all on function billing_private.users_without_customer() from public;
