-- Newest first; page on with p_before = the last action_id.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_actions(
    p_target_user_id uuid default null,
    p_admin_user_id  uuid default null,
    p_before         uuid default null,
    p_limit          integer default 50
)
returns setof billing.admin_action
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    -- One branch per filter, so that each has its own plan and index.
    if p_target_user_id is not null then
        return query
            select
                target_user_id, action_id, admin_user_id, action, amount, reason, details, outcome, created_at
            from billing.admin_actions_log
            where target_user_id = p_target_user_id
                and (p_before is null or action_id < p_before)
                and (p_admin_user_id is null or admin_user_id = p_admin_user_id)
            order by action_id desc
            limit p_limit;
    else
        return query
            select
                target_user_id, action_id, admin_user_id, action, amount, reason, details, outcome, created_at
            from billing.admin_actions_log
            where (p_before is null or action_id < p_before)
                and (p_admin_user_id is null or admin_user_id = p_admin_user_id)
            order by action_id desc
            limit p_limit;
    end if;
end
$$;

comment on function billing.list_actions(uuid, uuid, uuid, integer) is
    'The admin log, newest first, for one account or admin or all.';
revoke all on function billing.list_actions(uuid, uuid, uuid, integer) from public;
grant execute on function billing.list_actions(uuid, uuid, uuid, integer) to billing_api;
