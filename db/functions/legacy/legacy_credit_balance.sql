-- Raises: UC400 invalid_request.
create or replace function billing.legacy_credit_balance(p_user_id uuid)
returns billing.legacy_credit
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_state     billing.legacy_check := billing_private.legacy_state(p_user_id);
    v_purchased numeric;
begin
    if v_state.migrated then
        v_purchased := (
            select coalesce(sum(amount), 0)
            from billing.credit_purchases
            where user_id = p_user_id and status = 'paid'
        );
    else
        v_purchased := (
            select coalesce(sum(amount), 0)
            from legacy_billing.legacy_purchases
            where user_id = p_user_id and status = 'completed'
        );
    end if;
    return (
        v_state.bought_credit, v_purchased, greatest(0, v_purchased - v_state.bought_credit), v_state.migrated
    )::billing.legacy_credit;
end
$$;

comment on function billing.legacy_credit_balance(uuid) is
    'What a user has bought, and what is left of it, in the terms of the old system.';
revoke all on function billing.legacy_credit_balance(uuid) from public;
grant execute on function billing.legacy_credit_balance(uuid) to billing_api;
