-- Raises: UC404 approval_not_found.
create or replace function billing_private.read_approval(p_approval_id uuid)
returns billing.approval_requests
language plpgsql
stable
as $$
declare
    v_asked billing.approval_requests;
begin
    select * into v_asked from billing.approval_requests where approval_id = p_approval_id;
    if not found then
        perform billing_private.raise_no_approval(p_approval_id);
    end if;
    return v_asked;
end
$$;

comment on function billing_private.read_approval(uuid) is 'A request for an approval, as it is stored.';
revoke all on function billing_private.read_approval(uuid) from public;
