-- In which system a user lives is decided under this lock, which comes before the account's: whoever writes to the old
-- system, opens an account, migrates or rolls back waits here for the others. The row is written, not only locked: a
-- transaction with an older snapshot (REPEATABLE READ) fails instead of overlooking what was done meanwhile.
-- Locks: the user's row of user_migrations, which is made if there is none, until commit.
create or replace function billing_private.lock_migration(p_user_id uuid)
returns billing.user_migrations
language plpgsql
as $$
declare
    v_migration billing.user_migrations;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    insert into billing.user_migrations (user_id) values (p_user_id) on conflict do nothing;
    update billing.user_migrations set status = status where user_id = p_user_id returning * into v_migration;
    return v_migration;
end
$$;

comment on function billing_private.lock_migration(uuid) is 'The migration of a user, locked.';
revoke all on function billing_private.lock_migration(uuid) from public;
