-- Null is for the caller to refuse; NaN and infinity fail the upper bound. 1,000,000,000,000 credits is absurd enough.
create or replace function billing_private.amount_problem(p_amount numeric)
returns text
language sql
immutable
as $$
    select case
        when p_amount > 0 and p_amount <= 1000000000000 and pg_catalog.scale(p_amount) <= 9 then null
        when p_amount is null then 'invalid_request'
        when not p_amount > 0 then 'amount_not_positive'
        when not p_amount <= 1000000000000 then 'amount_too_large'
        else 'amount_too_precise'
    end
$$;

comment on function billing_private.amount_problem(numeric) is
    'Why an amount is not one: the name of an error; null when it is positive, finite and exact to 9 places.';
revoke all on function billing_private.amount_problem(numeric) from public;
