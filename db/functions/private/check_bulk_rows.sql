-- Raises: UC400 invalid_request, UC422 too_many_rows.
create or replace function billing_private.check_bulk_rows(p_rows jsonb)
returns void
language plpgsql
immutable
as $$
begin
    if (jsonb_typeof(p_rows) = 'array' and jsonb_array_length(p_rows) > 0) is not true then
        perform billing_private.raise_error('invalid_request', 'p_rows must be an array of rows.');
    elsif jsonb_array_length(p_rows) > 10000 then
        perform billing_private.raise_error(
            'too_many_rows', format('There are %s rows.', jsonb_array_length(p_rows))
        );
    end if;
end
$$;

comment on function billing_private.check_bulk_rows(jsonb) is 'Raises when there are no rows, or too many.';
revoke all on function billing_private.check_bulk_rows(jsonb) from public;
