-- Raises: UC400 invalid_request, UC422 amount_not_positive, amount_too_precise, amount_too_large.
create or replace function billing_private.check_amount(p_amount numeric)
returns void
language plpgsql
immutable
as $$
declare
    v_problem text := billing_private.amount_problem(p_amount);
begin
    if v_problem is not null then
        perform billing_private.raise_error(v_problem, format('The amount is %s.', coalesce(p_amount::text, 'null')));
    end if;
end
$$;

comment on function billing_private.check_amount(numeric) is 'Raises when an amount is not one.';
revoke all on function billing_private.check_amount(numeric) from public;
