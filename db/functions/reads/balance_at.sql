-- As if settled: credits that had expired at that time are gone, even where the expiry was booked later. A time ahead
-- tells what will be left if nothing is used and nothing granted.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.balance_at(p_user_id uuid, p_at timestamptz)
returns numeric
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account  billing.credit_accounts := billing_private.read_account(p_user_id);
    v_balance  numeric := 0::numeric;
    v_entry_no bigint;
    v_entry    record;
begin
    if p_at is null then
        perform billing_private.raise_error('invalid_request', 'p_at must be given.');
    end if;
    v_entry_no := billing_private.entry_at(v_account, p_at);
    if v_entry_no = v_account.entry_count then
        v_account := billing_private.settled_account(v_account, p_at);
        return case when p_at >= v_account.created_at then v_account.balance else 0 end;
    elsif v_entry_no > 0 then
        v_balance := (
            select balance_after
            from billing.credit_ledger
            where user_id = p_user_id and entry_no = v_entry_no
        );
    end if;
    -- One by one: how many of the entries that follow are looked at does not depend on how many there are.
    loop
        v_entry_no := v_entry_no + 1;
        select type, amount, (metadata ->> 'due_at')::timestamp at time zone 'UTC' as due_at into v_entry
        from billing.credit_ledger
        where user_id = p_user_id and entry_no = v_entry_no;
        exit when (v_entry.type = 'expiry' and v_entry.due_at <= p_at) is not true;
        v_balance := v_balance + v_entry.amount;
    end loop;
    return v_balance;
end
$$;

comment on function billing.balance_at(uuid, timestamptz) is 'The balance of an account at a time.';
revoke all on function billing.balance_at(uuid, timestamptz) from public;
grant execute on function billing.balance_at(uuid, timestamptz) to billing_api;
