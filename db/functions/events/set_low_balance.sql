-- Below which balance the account is told of: null takes the default of the settings, 0 is never, nor is what is not above
-- the balance that counts as depleted. A balance that is below it already is not told: nothing has fallen.
-- Locks:  the account row, until commit.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated, UC422 amount_too_precise,
--         amount_too_large, amount_not_positive.
create or replace function billing.set_low_balance(p_user_id uuid, p_low_balance numeric)
returns billing.notifications
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts;
    v_now     timestamptz;
begin
    if p_low_balance <> 0 then
        perform billing_private.check_amount(p_low_balance);
    end if;
    v_account := billing_private.lock_account(p_user_id);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_account.updated_at := v_now;
    v_account.low_balance := p_low_balance;
    v_account.alert_below := null;
    v_account := billing_private.watch_balance(v_account, v_now, 'usage');
    update billing.credit_accounts set low_balance = p_low_balance where user_id = p_user_id;
    perform billing_private.save_account(v_account);
    return billing.get_notifications(p_user_id);
end
$$;

comment on function billing.set_low_balance(uuid, numeric) is 'Sets the balance below which an account is told of as low.';
revoke all on function billing.set_low_balance(uuid, numeric) from public;
grant execute on function billing.set_low_balance(uuid, numeric) to billing_api;
