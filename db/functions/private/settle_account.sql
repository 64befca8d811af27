-- Attributes the usage since the last settlement to the lots that were live, then ends what has come due. Runs before
-- anything that changes the set of lots, and once next_expiry_at has come: between two settlements the burn order
-- cannot change, so the result is what walking the lots at every deduction would have given.
create or replace function billing_private.settle_account(p_account billing.credit_accounts, p_now timestamptz)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_step record;
begin
    for v_step in select * from billing_private.settlement_plan(p_account, p_now) loop
        case v_step.kind
            when 'burn' then
                insert into billing.credit_burns (user_id, grant_no, from_used, to_used)
                values (p_account.user_id, v_step.grant_no, v_step.from_used, v_step.from_used + v_step.amount);
                update billing.credit_grants
                set remaining = remaining - v_step.amount
                where user_id = p_account.user_id and grant_no = v_step.grant_no;
            when 'hold' then
                update billing.credit_holds
                set status = 'expired', ended_at = v_step.due_at
                where user_id = p_account.user_id and hold_id = v_step.hold_id;
                p_account.held := p_account.held - v_step.amount;
            when 'expire' then
                p_account.settled_total := p_account.used_total;
                p_account := billing_private.take_from_lot(
                    p_account, p_now, 'expiry', v_step.grant_no, v_step.amount, 'settle_account',
                    jsonb_build_object('due_at', v_step.due_at at time zone 'UTC')
                );
        end case;
    end loop;
    p_account.updated_at := p_now;
    p_account.settled_total := p_account.used_total;
    p_account.next_expiry_at := billing_private.next_expiry(p_account.user_id, p_now);
    perform billing_private.save_account(p_account);
    return p_account;
end
$$;

comment on function billing_private.settle_account(billing.credit_accounts, timestamptz) is
    'Settles a locked account: attributes usage to lots, ends overdue holds, expires lots; returns the account.';
revoke all on function billing_private.settle_account(billing.credit_accounts, timestamptz) from public;
