-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.list_holds(p_user_id uuid, p_active_only boolean default true)
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
    return query
        select h.*
        from billing.credit_holds stored, billing_private.as_hold(stored, v_now) h
        where stored.user_id = p_user_id
            and (not p_active_only or (stored.status = 'active' and stored.expires_at > v_now))
        order by stored.hold_id desc
        limit 500;
end
$$;

comment on function billing.list_holds(uuid, boolean) is
    'The newest 500 holds of an account, or those that are active.';
revoke all on function billing.list_holds(uuid, boolean) from public;
grant execute on function billing.list_holds(uuid, boolean) to billing_api;
