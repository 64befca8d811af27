-- An account that is owed this month's credits gets them with it, so that nobody is told to have run dry at midnight.
-- Locks: the account, until commit.
create or replace function billing_private.settle_if_due(p_user_id uuid, p_through date)
returns boolean
language plpgsql
as $$
declare
    v_account billing.credit_accounts;
    v_now     timestamptz;
begin
    select * into v_account from billing.credit_accounts where user_id = p_user_id for no key update;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    if (v_account.next_expiry_at <= v_now) is not true then
        return false;
    end if;
    if not billing_private.grant_if_due(p_user_id, p_through) then
        perform billing_private.settle_account(v_account, v_now);
    end if;
    return true;
end
$$;

comment on function billing_private.settle_if_due(uuid, date) is
    'Settles an account of which a lot or a hold has ended; whether it was due.';
revoke all on function billing_private.settle_if_due(uuid, date) from public;
