-- Newest first; page on with p_before = the last hold_id.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated, UC422 limit_out_of_range.
create or replace function billing.list_holds(
    p_user_id     uuid,
    p_active_only boolean default true,
    p_before      uuid default null,
    p_limit       integer default 500
)
returns setof billing.hold
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
    v_now     timestamptz := greatest(billing_private.clock(), v_account.updated_at);
begin
    perform billing_private.check_limit(p_limit);
    return query
        select h.*
        from billing.credit_holds stored, billing_private.as_hold(stored, v_now) h
        where stored.user_id = p_user_id
            and (p_before is null or stored.hold_id < p_before)
            and (not p_active_only or (stored.status = 'active' and stored.expires_at > v_now))
        order by stored.hold_id desc
        limit p_limit;
end
$$;

comment on function billing.list_holds(uuid, boolean, uuid, integer) is
    'The holds of an account, or those that are active, newest first, page by page.';
revoke all on function billing.list_holds(uuid, boolean, uuid, integer) from public;
grant execute on function billing.list_holds(uuid, boolean, uuid, integer) to billing_api;
