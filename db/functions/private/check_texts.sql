-- Raises: UC400 invalid_request.
create or replace function billing_private.check_texts(
    p_description     text default null,
    p_reference_type  text default null,
    p_reference_id    text default null,
    p_idempotency_key text default null,
    p_metadata        jsonb default null
)
returns void
language plpgsql
immutable
as $$
declare
    v_problem text := billing_private.text_problem(
        p_description, p_reference_type, p_reference_id, p_idempotency_key, p_metadata
    );
begin
    if v_problem is not null then
        perform billing_private.raise_error('invalid_request', v_problem);
    end if;
end
$$;

comment on function billing_private.check_texts is 'Raises when a text of a request is too long or malformed.';
revoke all on function billing_private.check_texts from public;
