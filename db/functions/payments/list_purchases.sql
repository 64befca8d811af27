-- Newest first; page on with p_before = the last purchase_id.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_purchases(
    p_user_id uuid,
    p_before  uuid default null,
    p_limit   integer default 50
)
returns setof billing.purchase
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_purchase billing.credit_purchases;
begin
    perform billing_private.check_limit(p_limit);
    for v_purchase in
        select *
        from billing.credit_purchases
        where user_id = p_user_id and (p_before is null or purchase_id < p_before)
        order by purchase_id desc
        limit p_limit
    loop
        return next billing_private.as_purchase(v_purchase, false);
    end loop;
end
$$;

comment on function billing.list_purchases(uuid, uuid, integer) is
    'The purchases of a user, newest first, page by page.';
revoke all on function billing.list_purchases(uuid, uuid, integer) from public;
grant execute on function billing.list_purchases(uuid, uuid, integer) to billing_api;
