-- Raises: UC400 invalid_request.
create or replace function billing_private.bulk_name(p_name text)
returns text
language plpgsql
immutable
as $$
declare
    v_name text := btrim(regexp_replace(p_name, '\s+', ' ', 'g'));
begin
    if (length(v_name) between 1 and 200) is not true then
        perform billing_private.raise_error('invalid_request', 'p_name must have 1 to 200 characters.');
    end if;
    return v_name;
end
$$;

comment on function billing_private.bulk_name(text) is 'The name of a bulk grant without needless blanks.';
revoke all on function billing_private.bulk_name(text) from public;
