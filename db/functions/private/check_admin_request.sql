-- Raises: UC400 invalid_request, UC422 reason_required.
create or replace function billing_private.check_admin_request(p_actor uuid, p_reason text)
returns void
language plpgsql
immutable
as $$
begin
    if p_actor is null then
        perform billing_private.raise_error('invalid_request', 'p_actor must be given.');
    elsif (p_reason ~ '\S') is not true then
        perform billing_private.raise_error('reason_required', 'p_reason is empty.');
    elsif length(p_reason) > 2000 then
        perform billing_private.raise_error('invalid_request', 'p_reason must have at most 2000 characters.');
    end if;
end
$$;

comment on function billing_private.check_admin_request(uuid, text) is
    'Raises when an admin''s request does not say who asks, or why.';
revoke all on function billing_private.check_admin_request(uuid, text) from public;
