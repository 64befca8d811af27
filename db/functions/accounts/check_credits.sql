-- Reads only. Between the check and the deduction the balance may change: hold credits to be sure of them.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC422 amount_not_positive, amount_too_precise, amount_too_large.
create or replace function billing.check_credits(
    p_user_id  uuid,
    p_required numeric default 0.01
)
returns billing.credit_check
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    v_account billing.credit_accounts;
    v_refusal text;
begin
    if billing_private.amount_problem(p_required) is not null then
        perform billing_private.check_amount(p_required);
    end if;
    select * into v_account from billing.credit_accounts where user_id = p_user_id;
    if not found then
        v_account := billing_private.read_account(p_user_id);
    elsif v_account.next_expiry_at <= billing_private.clock() then
        v_account := billing_private.settled_account(v_account, billing_private.clock());
    end if;
    v_refusal := billing_private.spend_refusal(v_account, p_required);
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

comment on function billing.check_credits(uuid, numeric) is 'Whether an account could spend an amount at this moment.';
revoke all on function billing.check_credits(uuid, numeric) from public;
grant execute on function billing.check_credits(uuid, numeric) to billing_api;
