create or replace function billing_private.bulk_pending(p_bulk_id uuid)
returns bigint
language plpgsql
stable
as $$
begin
    return (select count(*) from billing.bulk_grant_rows where bulk_id = p_bulk_id and outcome = 'pending');
end
$$;

comment on function billing_private.bulk_pending(uuid) is 'How many rows of a bulk grant wait.';
revoke all on function billing_private.bulk_pending(uuid) from public;
