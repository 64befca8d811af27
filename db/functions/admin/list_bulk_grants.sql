-- Newest first; page on with p_before = the last bulk_id. p_name: the one that has this name, however it is written.
-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_bulk_grants(
    p_before uuid default null,
    p_limit  integer default 50,
    p_name   text default null
)
returns setof billing.bulk_grant
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_bulk billing.bulk_grants;
begin
    perform billing_private.check_limit(p_limit);
    for v_bulk in
        select *
        from billing.bulk_grants
        where (p_before is null or bulk_id < p_before)
            and (p_name is null or lower(name) = lower(btrim(regexp_replace(p_name, '\s+', ' ', 'g'))))
        order by bulk_id desc
        limit p_limit
    loop
        return next billing_private.as_bulk_grant(v_bulk);
    end loop;
end
$$;

comment on function billing.list_bulk_grants(uuid, integer, text) is 'Bulk grants and how far they are, newest first.';
revoke all on function billing.list_bulk_grants(uuid, integer, text) from public;
grant execute on function billing.list_bulk_grants(uuid, integer, text) to billing_api;
