-- Newest first; page on with p_before = the last action_id. p_refused: only what was refused, or only what was done.
-- From p_from until before p_to.
-- Raises: UC400 invalid_request, UC422 limit_out_of_range.
create or replace function billing.list_actions(
    p_target_user_id uuid default null,
    p_admin_user_id  uuid default null,
    p_before         uuid default null,
    p_limit          integer default 50,
    p_action         text default null,
    p_refused        boolean default null,
    p_from           timestamptz default null,
    p_to             timestamptz default null
)
returns setof billing.admin_action
language plpgsql
stable
security definer
set search_path = pg_temp
-- Each combination of filters has its own plan and index.
set plan_cache_mode = force_custom_plan
as $$
declare
    v_first  uuid := billing_private.first_id_at(p_from);
    -- One millisecond more: an id's time is rounded.
    v_before uuid := least(p_before, billing_private.first_id_at(p_to + interval '1 millisecond'));
begin
    perform billing_private.check_limit(p_limit);
    if p_from >= p_to then
        perform billing_private.raise_error('invalid_request', 'p_from must be before p_to.');
    end if;
    return query
        select target_user_id, action_id, admin_user_id, action, amount, reason, details, outcome, created_at
        from billing.admin_actions_log
        where (p_target_user_id is null or target_user_id = p_target_user_id)
            and (p_admin_user_id is null or admin_user_id = p_admin_user_id)
            and (p_action is null or action = p_action)
            and (p_refused is null or (outcome <> 'done') = p_refused)
            and (v_before is null or action_id < v_before)
            and (v_first is null or action_id >= v_first)
            and (p_from is null or created_at >= p_from)
            and (p_to is null or created_at < p_to)
        order by action_id desc
        limit p_limit;
end
$$;

comment on function billing.list_actions(
    uuid, uuid, uuid, integer, text, boolean, timestamptz, timestamptz
) is 'The admin log, newest first: for one account or admin or all, of one action or all, done or refused.';
revoke all on function billing.list_actions(
    uuid, uuid, uuid, integer, text, boolean, timestamptz, timestamptz
) from public;
grant execute on function billing.list_actions(
    uuid, uuid, uuid, integer, text, boolean, timestamptz, timestamptz
) to billing_api;
