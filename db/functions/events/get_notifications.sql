-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.get_notifications(p_user_id uuid)
returns billing.notifications
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
begin
    return (
        select (
            p_user_id, coalesce(v_account.low_balance, s.low_balance), v_account.low_balance is null,
            s.depleted_balance
        )::billing.notifications
        from billing.billing_settings s
    );
end
$$;

comment on function billing.get_notifications(uuid) is 'Below which balances an account is told of.';
revoke all on function billing.get_notifications(uuid) from public;
grant execute on function billing.get_notifications(uuid) to billing_api;
