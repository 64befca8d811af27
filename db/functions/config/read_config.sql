-- What get_config is to the owner of the database. Locks nothing: change_config says so when a row is not as it was.
-- Raises: UC403 not_an_admin.
create or replace function billing.read_config(p_actor uuid)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    if not billing_private.is_admin(p_actor) then
        perform billing_private.raise_error('not_an_admin', format(
            'User %s is no admin.', coalesce(p_actor::text, 'null')
        ));
    end if;
    return billing.get_config();
end
$$;

comment on function billing.read_config(uuid) is
    'Tiers, admin limits, rate card, packages and settings as one JSON object, for an admin.';
revoke all on function billing.read_config(uuid) from public;
grant execute on function billing.read_config(uuid) to billing_api;
