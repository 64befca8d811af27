create or replace function billing_private.approval_status(p_asked billing.approval_requests, p_now timestamptz)
returns text
language plpgsql
immutable
as $$
begin
    return case
        when p_asked.status = 'open' and p_asked.open_until <= p_now then 'expired'
        else p_asked.status
    end;
end
$$;

comment on function billing_private.approval_status(billing.approval_requests, timestamptz) is
    'The status of a request: one that waited too long has expired.';
revoke all on function billing_private.approval_status(billing.approval_requests, timestamptz) from public;
