-- Raises: UC404 approval_not_found.
create or replace function billing.get_approval(p_approval_id uuid)
returns billing.approval
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_asked billing.approval_requests;
begin
    select * into v_asked from billing.approval_requests where approval_id = p_approval_id;
    if not found then
        perform billing_private.raise_no_approval(p_approval_id);
    end if;
    return billing_private.as_approval(v_asked);
end
$$;

comment on function billing.get_approval(uuid) is 'A request that another admin decides, and what became of it.';
revoke all on function billing.get_approval(uuid) from public;
grant execute on function billing.get_approval(uuid) to billing_api;
