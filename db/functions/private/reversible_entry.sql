-- Raises: UC404 entry_not_found, UC409 already_reversed, UC422 entry_not_reversible.
create or replace function billing_private.reversible_entry(p_user_id uuid, p_entry_no bigint)
returns billing.credit_ledger
language plpgsql
stable
as $$
declare
    v_entry       billing.credit_ledger;
    v_reversal_no bigint;
begin
    select * into v_entry
    from billing.credit_ledger
    where user_id = p_user_id and entry_no = p_entry_no;
    if not found then
        perform billing_private.raise_error('entry_not_found', format(
            'User %s has no entry %s.', p_user_id, coalesce(p_entry_no::text, 'null')
        ));
    elsif (v_entry.type in ('usage', 'adjustment') and v_entry.amount < 0) is not true then
        perform billing_private.raise_error('entry_not_reversible', format(
            'Entry %s is a %s of %s.', p_entry_no, v_entry.type, v_entry.amount
        ));
    end if;
    select entry_no into v_reversal_no
    from billing.credit_ledger
    where user_id = p_user_id and reversed_entry_no = p_entry_no;
    if found then
        perform billing_private.raise_error('already_reversed', format(
            'Entry %s was reversed by entry %s.', p_entry_no, v_reversal_no
        ));
    end if;
    return v_entry;
end
$$;

comment on function billing_private.reversible_entry(uuid, bigint) is
    'An entry of a locked account that took credits in burn order and has not been reversed.';
revoke all on function billing_private.reversible_entry(uuid, bigint) from public;
