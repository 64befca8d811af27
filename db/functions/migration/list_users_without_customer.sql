-- Reads all usage and purchases. In the order of user_id; page on with p_after = the last one. A user like this is in
-- none of the other lists: give them a row of legacy_customers.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_users_without_customer(
    p_after uuid default null,
    p_limit integer default 500
)
returns setof billing.migration_difference
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    return query
        select u.user_id, 'no_customer', format('%s calls, %s purchases', u.calls, u.purchases), 'not migrated'
        from billing_private.users_without_customer() u
        where p_after is null or u.user_id > p_after
        order by u.user_id
        limit p_limit;
end
$$;

comment on function billing.list_users_without_customer(uuid, integer) is
    'Users of whom the old system has calls or purchases, but no customer.';
revoke all on function billing.list_users_without_customer(uuid, integer) from public;
