-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.get_auto_top_up(p_user_id uuid)
returns billing.auto_top_up
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_top_up billing.billing_auto_top_ups;
begin
    perform billing_private.read_account(p_user_id);
    select * into v_top_up from billing.billing_auto_top_ups where user_id = p_user_id;
    v_top_up.user_id := p_user_id;
    v_top_up.enabled := coalesce(v_top_up.enabled, false);
    return billing_private.as_auto_top_up(v_top_up, billing_private.clock());
end
$$;

comment on function billing.get_auto_top_up(uuid) is
    'A user''s automatic top-up.';
revoke all on function billing.get_auto_top_up(uuid) from public;
grant execute on function billing.get_auto_top_up(uuid) to billing_api;
