-- Null texts are fine: they are optional. The bounds are those of the table's constraints.
create or replace function billing_private.text_problem(
    p_description     text,
    p_reference_type  text,
    p_reference_id    text,
    p_idempotency_key text,
    p_metadata        jsonb
)
returns text
language sql
stable
as $$
    select case
        when pg_catalog.length(p_idempotency_key) not between 1 and 200
            then 'p_idempotency_key must have 1 to 200 characters.'
        when pg_catalog.jsonb_typeof(p_metadata) <> 'object' then 'p_metadata must be a JSON object.'
        when pg_catalog.length(p_description) > 2000 then 'p_description must have at most 2000 characters.'
        when pg_catalog.length(p_reference_type) > 200 then 'p_reference_type must have at most 200 characters.'
        when pg_catalog.length(p_reference_id) > 200 then 'p_reference_id must have at most 200 characters.'
        when pg_catalog.pg_column_size(p_metadata) > 16384 then 'p_metadata must be at most 16 kB.'
    end
$$;

comment on function billing_private.text_problem(text, text, text, text, jsonb) is
    'What is wrong with the texts of a request, as a sentence; null when nothing is.';
revoke all on function billing_private.text_problem(text, text, text, text, jsonb) from public;
