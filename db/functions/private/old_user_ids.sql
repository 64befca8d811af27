-- Raises: UC400 invalid_request.
create or replace function billing_private.old_user_ids(p_user_ids uuid[])
returns uuid[]
language plpgsql
stable
as $$
declare
    v_user_ids uuid[] := (select array_agg(distinct id order by id) from unnest(p_user_ids) id where id is not null);
begin
    if (cardinality(v_user_ids) between 1 and 1000) is not true then
        perform billing_private.raise_error('invalid_request', 'p_user_ids must name 1 to 1000 users.');
    end if;
    return v_user_ids;
end
$$;

comment on function billing_private.old_user_ids(uuid[]) is 'User ids, each once and in their order.';
revoke all on function billing_private.old_user_ids(uuid[]) from public;
