-- Raises: UC404 approval_not_found.
create or replace function billing_private.raise_no_approval(p_approval_id uuid)
returns void
language plpgsql
stable
as $$
begin
    perform billing_private.raise_error('approval_not_found', format(
        'There is no request %s.', coalesce(p_approval_id::text, 'null')
    ));
end
$$;

comment on function billing_private.raise_no_approval(uuid) is 'Raises for a request that there is not.';
revoke all on function billing_private.raise_no_approval(uuid) from public;
