-- Raises: UC409 approval_not_open.
create or replace function billing_private.check_approval_open(p_asked billing.approval_requests, p_now timestamptz)
returns void
language plpgsql
as $$
declare
    v_status text := billing_private.approval_status(p_asked, p_now);
begin
    if v_status <> 'open' then
        perform billing_private.raise_error('approval_not_open', format(
            'Request %s is %s.', p_asked.approval_id, v_status
        ));
    end if;
end
$$;

comment on function billing_private.check_approval_open(billing.approval_requests, timestamptz) is
    'Raises when a request is decided already, or waited too long.';
revoke all on function billing_private.check_approval_open(billing.approval_requests, timestamptz) from public;
