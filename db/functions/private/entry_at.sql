-- Entries are numbered in the order of their time, so a binary search by number needs no index on the time.
create or replace function billing_private.entry_at(p_account billing.credit_accounts, p_at timestamptz)
returns bigint
language plpgsql
stable
as $$
declare
    v_low    bigint := 0::bigint;
    v_high   bigint := p_account.entry_count;
    v_middle bigint;
begin
    while v_low < v_high loop
        v_middle := (v_low + v_high + 1) / 2;
        if (
            select created_at
            from billing.credit_ledger
            where user_id = p_account.user_id and entry_no = v_middle
        ) <= p_at then
            v_low := v_middle;
        else
            v_high := v_middle - 1;
        end if;
    end loop;
    return v_low;
end
$$;

comment on function billing_private.entry_at(billing.credit_accounts, timestamptz) is
    'The number of the last entry that is not after a time; 0 when there is none.';
revoke all on function billing_private.entry_at(billing.credit_accounts, timestamptz) from public;
