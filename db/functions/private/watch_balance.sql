-- Called when a balance falls below alert_below, and when credits come. Each crossing is told once: what was told is
-- armed again when the balance is back above it. A migration, a rollback and a debt that is repaid are nobody's spending.
-- The caller holds the lock, and saves the account.
create or replace function billing_private.watch_balance(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_type    text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_low      numeric;
    v_depleted numeric;
begin
    select coalesce(p_account.low_balance, low_balance), depleted_balance into v_low, v_depleted
    from billing.billing_settings;
    if p_account.balance < p_account.alert_below and p_type not in ('migration', 'rollback', 'debt_repayment') then
        if p_account.alert_below > v_depleted and p_account.balance < v_low then
            perform billing_private.emit_event(p_account.user_id, p_now, 'balance.low', jsonb_build_object(
                'balance', trim_scale(p_account.balance), 'threshold', trim_scale(v_low),
                'entry_no', p_account.entry_count
            ));
        end if;
        if p_account.balance < v_depleted then
            perform billing_private.emit_event(p_account.user_id, p_now, 'balance.depleted', jsonb_build_object(
                'balance', trim_scale(p_account.balance), 'threshold', trim_scale(v_depleted),
                'entry_no', p_account.entry_count
            ));
        end if;
    end if;
    p_account.alert_below := case
        when v_low > v_depleted and p_account.balance >= v_low then v_low
        when p_account.balance >= v_depleted then v_depleted
    end;
    return p_account;
end
$$;

comment on function billing_private.watch_balance(billing.credit_accounts, timestamptz, text) is
    'Tells that a balance is low or depleted, and sets what is told next; returns the account.';
revoke all on function billing_private.watch_balance(billing.credit_accounts, timestamptz, text) from public;
