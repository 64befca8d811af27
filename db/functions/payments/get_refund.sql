-- Raises: UC404 refund_not_found.
create or replace function billing.get_refund(p_refund_id uuid)
returns billing.refund
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return billing_private.as_refund(billing_private.read_refund(p_refund_id));
end
$$;

comment on function billing.get_refund(uuid) is
    'A refund.';
revoke all on function billing.get_refund(uuid) from public;
grant execute on function billing.get_refund(uuid) to billing_api;
