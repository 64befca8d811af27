create or replace function billing_private.fail_spend(p_raise boolean, p_reason text, p_detail text)
returns billing.deduction
language plpgsql
as $$
begin
    if p_raise then
        perform billing_private.raise_error(p_reason, p_detail);
    end if;
    return (false, null, 0, null, null, p_reason, false)::billing.deduction;
end
$$;

comment on function billing_private.fail_spend(boolean, text, text) is
    'An error of the caller of a deduction: raised, or told as the reason.';
revoke all on function billing_private.fail_spend(boolean, text, text) from public;
