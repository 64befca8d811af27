-- Newest first; page on with p_before = the last refund_id.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_refunds(
    p_user_id uuid default null,
    p_status  text default null,
    p_before  uuid default null,
    p_limit   integer default 50
)
returns setof billing.refund
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_refund billing.credit_refunds;
begin
    perform billing_private.check_limit(p_limit);
    for v_refund in
        select *
        from billing.credit_refunds
        where (p_user_id is null or user_id = p_user_id)
            and (p_status is null or status = p_status)
            and (p_before is null or refund_id < p_before)
        order by refund_id desc
        limit p_limit
    loop
        return next billing_private.as_refund(v_refund);
    end loop;
end
$$;

comment on function billing.list_refunds(uuid, text, uuid, integer) is
    'Refunds, newest first, of one user or all, page by page.';
revoke all on function billing.list_refunds(uuid, text, uuid, integer) from public;
grant execute on function billing.list_refunds(uuid, text, uuid, integer) to billing_api;
