-- Newest first; page on with p_before = the last approval_id. p_status: open, approved, declined, withdrawn or expired.
-- Raises: UC400 invalid_request, UC422 limit_out_of_range.
create or replace function billing.list_approvals(
    p_status  text default null,
    p_user_id uuid default null,
    p_before  uuid default null,
    p_limit   integer default 50
)
returns setof billing.approval
language plpgsql
stable
security definer
set search_path = pg_temp
-- Each combination of filters has its own plan and index.
set plan_cache_mode = force_custom_plan
as $$
declare
    v_now   timestamptz := billing_private.clock();
    v_asked billing.approval_requests;
begin
    perform billing_private.check_limit(p_limit);
    if p_status is not null and p_status not in ('open', 'approved', 'declined', 'withdrawn', 'expired') then
        perform billing_private.raise_error('invalid_request', format('p_status is %L.', p_status));
    end if;
    for v_asked in
        select *
        from billing.approval_requests
        where (p_before is null or approval_id < p_before)
            and (p_user_id is null or user_id = p_user_id)
            and (
                p_status is null
                or (p_status = 'open' and status = 'open' and open_until > v_now)
                or (p_status = 'expired' and status = 'open' and open_until <= v_now)
                or (p_status <> 'open' and status = p_status)
            )
        order by approval_id desc
        limit p_limit
    loop
        return next billing_private.as_approval(v_asked);
    end loop;
end
$$;

comment on function billing.list_approvals(text, uuid, uuid, integer) is
    'What admins asked other admins for, newest first.';
revoke all on function billing.list_approvals(text, uuid, uuid, integer) from public;
grant execute on function billing.list_approvals(text, uuid, uuid, integer) to billing_api;
