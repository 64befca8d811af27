-- Locks: role changes among each other, until commit. What was read before the lock must not be believed, and in the
-- stricter isolation levels it would be.
-- Raises: UC400 invalid_request.
create or replace function billing_private.lock_roles()
returns void
language plpgsql
as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        perform billing_private.raise_error('invalid_request', 'Roles are changed in isolation level READ COMMITTED.');
    end if;
    perform pg_advisory_xact_lock(hashtextextended('billing.user_roles', 0));
end
$$;

comment on function billing_private.lock_roles() is 'Lets one role change happen at a time.';
revoke all on function billing_private.lock_roles() from public;
