-- Locks:  the user's migration, until commit.
-- Raises: UC400 invalid_request, UC409 already_migrated.
create or replace function billing_private.guard_old_user(p_user_id uuid)
returns void
language plpgsql
as $$
begin
    -- Many rows of a user in one transaction lock once.
    if not exists (
        select from billing.user_migrations where user_id = p_user_id and xmin = pg_current_xact_id()::xid
    ) then
        perform billing_private.lock_migration(p_user_id);
    end if;
    if billing_private.lives_here(p_user_id) then
        perform billing_private.raise_error(
            'already_migrated', format('User %s has left the old system.', p_user_id)
        );
    end if;
end
$$;

comment on function billing_private.guard_old_user(uuid) is 'Raises when a user has left the old system.';
revoke all on function billing_private.guard_old_user(uuid) from public;
