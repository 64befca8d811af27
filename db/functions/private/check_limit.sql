-- Raises: UC422 limit_out_of_range.
create or replace function billing_private.check_limit(p_limit integer)
returns void
language plpgsql
immutable
as $$
begin
    if (p_limit between 1 and 500) is not true then
        perform billing_private.raise_error(
            'limit_out_of_range', format('p_limit is %s.', coalesce(p_limit::text, 'null'))
        );
    end if;
end
$$;

comment on function billing_private.check_limit(integer) is 'Raises when a page would be empty or too large.';
revoke all on function billing_private.check_limit(integer) from public;
