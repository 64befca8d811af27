-- Newest first; page on with p_before = the last purchase_id.
-- Raises: UC400 invalid_request, UC422 limit_out_of_range.
create or replace function billing.legacy_purchases(
    p_user_id uuid,
    p_before  text default null,
    p_limit   integer default 50
)
returns setof billing.legacy_purchase
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    end if;
    return query
        with purchases as (
            select p.* from billing_private.legacy_purchases(p_user_id) p
        )
        select p.*
        from purchases p
        where p_before is null or (p.created_at, p.purchase_id) < (
            select b.created_at, b.purchase_id from purchases b where b.purchase_id = p_before
        )
        order by p.created_at desc, p.purchase_id desc
        limit p_limit;
end
$$;

comment on function billing.legacy_purchases(uuid, text, integer) is
    'The purchases of a user in the terms of the old system, newest first.';
revoke all on function billing.legacy_purchases(uuid, text, integer) from public;
grant execute on function billing.legacy_purchases(uuid, text, integer) to billing_api;
