-- What an account from before its user's migration missed is granted first, so that the migration grants only the
-- difference. The caller has locked the user's migration.
-- Locks: the account, until commit.
create or replace function billing_private.ready_account(p_user_id uuid)
returns void
language plpgsql
as $$
declare
    v_account billing.credit_accounts := billing_private.lock_account(p_user_id, true);
    v_now     timestamptz := greatest(billing_private.clock(), v_account.updated_at);
begin
    v_account := billing_private.settle_account(v_account, v_now);
    if v_account.status = 'active' then
        perform billing_private.catch_up_grants(v_account, v_now);
    end if;
end
$$;

comment on function billing_private.ready_account(uuid) is 'Settles and catches up an account that a migration is for.';
revoke all on function billing_private.ready_account(uuid) from public;
