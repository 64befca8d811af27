-- Reads only. Between the check and the deduction the balance may change: hold credits to be sure of them.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated, UC422 amount_not_positive,
--         amount_too_precise, amount_too_large.
create or replace function billing.check_credits(
    p_user_id  uuid,
    p_required numeric default 0.01
)
returns billing.credit_check
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account record;
begin
    select balance, held, tier, status, next_expiry_at into v_account
    from billing.credit_accounts
    where user_id = p_user_id;
    if billing_private.amount_problem(p_required) is null
        and v_account.status = 'active'
        and v_account.balance - v_account.held >= p_required
        and coalesce(v_account.next_expiry_at > billing_private.clock(), true)
    then
        return (
            true, v_account.balance, v_account.balance - v_account.held, v_account.tier, 'OK'
        )::billing.credit_check;
    end if;
    return billing_private.check_otherwise(p_user_id, p_required);
end
$$;

comment on function billing.check_credits(uuid, numeric) is 'Whether an account could spend an amount at this moment.';
revoke all on function billing.check_credits(uuid, numeric) from public;
grant execute on function billing.check_credits(uuid, numeric) to billing_api;
