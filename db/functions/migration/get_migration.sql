-- Raises: UC400 invalid_request.
create or replace function billing.get_migration(p_user_id uuid)
returns billing.old_user
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_migration billing.user_migrations;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    select * into v_migration from billing.user_migrations where user_id = p_user_id;
    return (
        p_user_id,
        case
            when v_migration.status in ('migrated', 'rolled_back') then v_migration.status
            when exists (select from billing.credit_accounts where user_id = p_user_id) then 'new'
            when billing_private.is_old_user(p_user_id) then 'waiting'
            else 'unknown'
        end,
        v_migration.migrated_at, v_migration.rolled_back_at
    )::billing.old_user;
end
$$;

comment on function billing.get_migration(uuid) is
    'In which system a user lives: waiting or rolled_back in the old one, migrated or new in this one, or unknown.';
revoke all on function billing.get_migration(uuid) from public;
grant execute on function billing.get_migration(uuid) to billing_api;
