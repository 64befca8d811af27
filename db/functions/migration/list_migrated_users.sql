-- Everybody whose credits are here: migrated, or new (born here). In the order of user_id; page on with p_after.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_migrated_users(p_after uuid default null, p_limit integer default 500)
returns setof billing.old_user
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    return query
        select
            a.user_id, case m.status when 'migrated' then 'migrated' else 'new' end, m.migrated_at, m.rolled_back_at
        from billing.credit_accounts a
        left join billing.user_migrations m on m.user_id = a.user_id
        where (p_after is null or a.user_id > p_after) and m.status is distinct from 'rolled_back'
        order by a.user_id
        limit p_limit;
end
$$;

comment on function billing.list_migrated_users(uuid, integer) is
    'The users whose credits are in accounts: those who would have to go back.';
revoke all on function billing.list_migrated_users(uuid, integer) from public;
