create or replace function billing_private.failed(p_reason text, p_detail text)
returns billing_private.outcome
language sql
immutable
as $$
    select (false, null, 0, null, null, p_reason, false, null, p_detail)::billing_private.outcome
$$;

comment on function billing_private.failed(text, text) is 'The outcome of a deduction that is an error of its caller.';
revoke all on function billing_private.failed(text, text) from public;
