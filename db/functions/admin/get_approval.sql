-- Raises: UC404 approval_not_found.
create or replace function billing.get_approval(p_approval_id uuid)
returns billing.approval
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return billing_private.as_approval(billing_private.read_approval(p_approval_id));
end
$$;

comment on function billing.get_approval(uuid) is 'A request that another admin decides, and what became of it.';
revoke all on function billing.get_approval(uuid) from public;
grant execute on function billing.get_approval(uuid) to billing_api;
