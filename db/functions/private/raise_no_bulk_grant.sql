-- Raises: UC404 bulk_grant_not_found.
create or replace function billing_private.raise_no_bulk_grant(p_bulk_id uuid)
returns void
language plpgsql
stable
as $$
begin
    perform billing_private.raise_error('bulk_grant_not_found', format(
        'There is no bulk grant %s.', coalesce(p_bulk_id::text, 'null')
    ));
end
$$;

comment on function billing_private.raise_no_bulk_grant(uuid) is 'Raises for a bulk grant that there is not.';
revoke all on function billing_private.raise_no_bulk_grant(uuid) from public;
