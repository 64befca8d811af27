-- Raises: UC404 bulk_grant_not_found.
create or replace function billing.get_bulk_grant(p_bulk_id uuid)
returns billing.bulk_grant
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_bulk billing.bulk_grants;
begin
    select * into v_bulk from billing.bulk_grants where bulk_id = p_bulk_id;
    if not found then
        perform billing_private.raise_no_bulk_grant(p_bulk_id);
    end if;
    return billing_private.as_bulk_grant(v_bulk);
end
$$;

comment on function billing.get_bulk_grant(uuid) is 'A bulk grant, and how far it is.';
revoke all on function billing.get_bulk_grant(uuid) from public;
grant execute on function billing.get_bulk_grant(uuid) to billing_api;
