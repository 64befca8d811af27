-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.get_subscription(p_user_id uuid)
returns billing.subscription
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return billing_private.as_subscription(p_user_id);
end
$$;

comment on function billing.get_subscription(uuid) is
    'A user''s subscription; with status none and the account''s tier when there is none.';
revoke all on function billing.get_subscription(uuid) from public;
grant execute on function billing.get_subscription(uuid) to billing_api;
