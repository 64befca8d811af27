-- p_texts and p_numbers are paths that must be there; a number is a whole one of at most 12 digits.
-- Raises: UC400 invalid_request.
create or replace function billing_private.check_stripe_object(p_object jsonb, p_texts text[], p_numbers text[])
returns void
language plpgsql
immutable
as $$
declare
    v_path text;
    v_form text;
begin
    foreach v_path in array p_texts || p_numbers loop
        v_form := case when v_path = any (p_numbers) then '^\d{1,12}$' else '\S' end;
        if (p_object #>> string_to_array(v_path, ',') ~ v_form) is not true then
            perform billing_private.raise_error('invalid_request', format(
                '%s %s has no %s that makes sense.', p_object ->> 'object', p_object ->> 'id', v_path
            ));
        end if;
    end loop;
end
$$;

comment on function billing_private.check_stripe_object(jsonb, text[], text[]) is
    'Raises when an object of Stripe''s lacks what it must tell.';
revoke all on function billing_private.check_stripe_object(jsonb, text[], text[]) from public;
