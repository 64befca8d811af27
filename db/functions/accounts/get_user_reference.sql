create or replace function billing.get_user_reference(p_user_id uuid)
returns text
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return (select reference::text from billing.user_references where user_id = p_user_id);
end
$$;

comment on function billing.get_user_reference(uuid) is
    'What the application calls a user; null when it has not said.';
revoke all on function billing.get_user_reference(uuid) from public;
grant execute on function billing.get_user_reference(uuid) to billing_api;
