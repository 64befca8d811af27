-- A user of the old system gets an account by a migration, and in no other way. The caller's transaction holds the
-- lock, so that the old system does not take the user in meanwhile.
-- Locks:  the user's migration, until commit.
-- Raises: UC409 not_migrated.
create or replace function billing_private.check_may_open(p_user_id uuid)
returns void
language plpgsql
as $$
begin
    if billing_private.lives_here(p_user_id) then
        return;
    end if;
    perform billing_private.lock_migration(p_user_id);
    if billing_private.is_rolled_back(p_user_id)
        or not billing_private.lives_here(p_user_id) and billing_private.is_old_user(p_user_id)
    then
        perform billing_private.raise_error(
            'not_migrated', format('User %s is served by the old system.', p_user_id)
        );
    end if;
end
$$;

comment on function billing_private.check_may_open(uuid) is 'Raises for a user whom the old system serves.';
revoke all on function billing_private.check_may_open(uuid) from public;
