-- An amount of the old system that must not be rounded, or can't be. NaN and infinity fail the bound.
create or replace function billing_private.old_amount_problem(p_amount numeric)
returns text
language sql
immutable
as $$
    select case
        when (p_amount between -1000000000000 and 1000000000000) is not true then 'amount_too_large'
        when pg_catalog.scale(pg_catalog.trim_scale(p_amount)) > 9 then 'amount_too_precise'
    end
$$;

comment on function billing_private.old_amount_problem(numeric) is
    'Why an amount of the old system can''t be credits; null when it can.';
revoke all on function billing_private.old_amount_problem(numeric) from public;
