-- Ordered by user_id, of those that have one; for at most 1000 users.
-- Raises: UC400 invalid_request.
create or replace function billing.list_user_references(p_user_ids uuid[])
returns setof billing.user_reference
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    if (cardinality(p_user_ids) <= 1000) is not true then
        perform billing_private.raise_error('invalid_request', 'p_user_ids must name at most 1000 users.');
    end if;
    return query
        select r.user_id, r.reference::text, r.updated_at
        from billing.user_references r
        where r.user_id = any (p_user_ids)
        order by r.user_id;
end
$$;

comment on function billing.list_user_references(uuid[]) is 'What the application calls some users.';
revoke all on function billing.list_user_references(uuid[]) from public;
grant execute on function billing.list_user_references(uuid[]) to billing_api;
