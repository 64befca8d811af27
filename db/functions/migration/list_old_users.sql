-- In the order of user_id; page on with p_after = the last one. A user who was born in the new system is not among
-- them. p_status: waiting, migrated or rolled_back; null for all.
-- Raises: UC400 invalid_request, UC422 limit_out_of_range.
create or replace function billing.list_old_users(
    p_status text default null,
    p_after  uuid default null,
    p_limit  integer default 500
)
returns setof billing.old_user
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    if p_status not in ('waiting', 'migrated', 'rolled_back') then
        perform billing_private.raise_error('invalid_request', 'p_status must be waiting, migrated or rolled_back.');
    end if;
    if p_status in ('migrated', 'rolled_back') then
        return query
            select m.user_id, m.status, m.migrated_at, m.rolled_back_at
            from billing.user_migrations m
            where m.status = p_status and (p_after is null or m.user_id > p_after)
                and billing_private.is_old_user(m.user_id)
            order by m.user_id
            limit p_limit;
    else
        return query
            select c.user_id, coalesce(nullif(m.status, 'none'), 'waiting'), m.migrated_at, m.rolled_back_at
            from (
                select l.user_id
                from legacy_billing.legacy_customers l
                where (p_after is null or l.user_id > p_after)
                    and l.user_id is not null
                    and (p_status is null or not exists (
                        select from billing.user_migrations o
                        where o.user_id = l.user_id and o.status <> 'none'
                    ))
                group by l.user_id
                order by l.user_id
                limit p_limit
            ) c
            left join billing.user_migrations m on m.user_id = c.user_id
            order by c.user_id;
    end if;
end
$$;

comment on function billing.list_old_users(text, uuid, integer) is
    'The users of the old system, and where each of them is by now.';
revoke all on function billing.list_old_users(text, uuid, integer) from public;
