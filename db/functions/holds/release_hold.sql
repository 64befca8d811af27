-- Locks:  the account row, until commit.
-- Replay: a hold that has ended is returned unchanged.
-- Raises: UC400 invalid_request, UC404 account_not_found, hold_not_found, UC409 not_migrated.
create or replace function billing.release_hold(p_user_id uuid, p_hold_id uuid)
returns billing.hold
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.lock_account(p_user_id);
    v_now     timestamptz := greatest(billing_private.clock(), v_account.updated_at);
    v_hold    billing.credit_holds;
begin
    if v_account.next_expiry_at <= v_now then
        v_account := billing_private.settle_account(v_account, v_now);
    end if;
    v_hold := billing_private.read_hold(p_user_id, p_hold_id);
    if v_hold.status = 'active' then
        v_account := billing_private.end_hold(v_account, v_now, v_hold);
        v_hold := billing_private.read_hold(p_user_id, p_hold_id);
    end if;
    return billing_private.as_hold(v_hold, v_now);
end
$$;

comment on function billing.release_hold(uuid, uuid) is 'Gives the credits of a hold back.';
revoke all on function billing.release_hold(uuid, uuid) from public;
grant execute on function billing.release_hold(uuid, uuid) to billing_api;
