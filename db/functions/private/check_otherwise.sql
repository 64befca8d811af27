-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated, UC422 amount_not_positive,
--         amount_too_precise, amount_too_large.
create or replace function billing_private.check_otherwise(p_user_id uuid, p_required numeric)
returns billing.credit_check
language plpgsql
stable
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
    v_now     timestamptz := greatest(billing_private.clock(), v_account.updated_at);
    v_refusal text;
begin
    perform billing_private.check_amount(p_required);
    perform billing_private.check_not_rolled_back(v_account);
    v_account := billing_private.settled_account(v_account, v_now);
    v_refusal := billing_private.spend_refusal(v_account, p_required);
    if v_refusal = 'insufficient_credits' then
        v_account := billing_private.with_owed_credits(v_account, v_now);
        v_refusal := billing_private.spend_refusal(v_account, p_required);
    end if;
    return (
        v_refusal is null, v_account.balance, v_account.balance - v_account.held, v_account.tier,
        case v_refusal
            when 'insufficient_credits' then
                format('%s credits needed, %s available.', p_required, v_account.balance - v_account.held)
            when 'account_frozen' then 'The account is frozen.'
            when 'account_closed' then 'The account is closed.'
            else 'OK'
        end
    )::billing.credit_check;
end
$$;

comment on function billing_private.check_otherwise(uuid, numeric) is
    'The checks that take more than a look at the account row: something is due, refused or wrong.';
revoke all on function billing_private.check_otherwise(uuid, numeric) from public;
