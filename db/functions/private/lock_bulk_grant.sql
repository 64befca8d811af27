-- Locks: the bulk grant, until commit, before any account: whoever changes its rows or grants them waits here.
-- Raises: UC404 bulk_grant_not_found.
create or replace function billing_private.lock_bulk_grant(p_bulk_id uuid)
returns billing.bulk_grants
language plpgsql
as $$
declare
    v_bulk billing.bulk_grants;
begin
    select * into v_bulk
    from billing.bulk_grants
    where bulk_id = p_bulk_id
    for no key update;
    if not found then
        perform billing_private.raise_no_bulk_grant(p_bulk_id);
    end if;
    return v_bulk;
end
$$;

comment on function billing_private.lock_bulk_grant(uuid) is 'A bulk grant, locked.';
revoke all on function billing_private.lock_bulk_grant(uuid) from public;
