-- Reads only. A stranger is a free user without usage. Usage and bought credit are those of the system that the user
-- lives in.
-- Raises: UC400 invalid_request.
create or replace function billing.legacy_check(p_user_id uuid)
returns billing.legacy_check
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return billing_private.legacy_state(p_user_id);
end
$$;

comment on function billing.legacy_check(uuid) is
    'Whether a user of the old system may make a call; for one who has left it, by the account.';
revoke all on function billing.legacy_check(uuid) from public;
grant execute on function billing.legacy_check(uuid) to billing_api;
