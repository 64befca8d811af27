-- Newest first; page on with p_before = the last entry_no. A page costs the same on the largest account.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated, UC422 limit_out_of_range.
create or replace function billing.list_entries(
    p_user_id uuid,
    p_before  bigint default null,
    p_limit   integer default 50,
    p_type    text default null
)
returns setof billing.ledger_entry
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_before bigint := coalesce(p_before, 9223372036854775807);
begin
    perform billing_private.check_limit(p_limit);
    perform billing_private.read_account(p_user_id);
    begin
        perform p_type::billing.entry_type;
    exception
        when check_violation then
            perform billing_private.raise_error('invalid_request', format('p_type %L is no type of entry.', p_type));
    end;
    -- Usage is what an account is full of; everything else has an index of its own.
    if p_type is null or p_type = 'usage' then
        return query
            select v.*
            from (
                select e as entry
                from billing.credit_ledger e
                where e.user_id = p_user_id and e.entry_no < v_before and (p_type is null or e.type = 'usage')
                order by e.entry_no desc
                limit p_limit
            ) page
            cross join lateral billing_private.as_ledger_entry(page.entry) v
            order by v.entry_no desc;
    else
        return query
            select v.*
            from (
                select e as entry
                from billing.credit_ledger e
                where e.user_id = p_user_id and e.type = p_type and e.type <> 'usage' and e.entry_no < v_before
                order by e.entry_no desc
                limit p_limit
            ) page
            cross join lateral billing_private.as_ledger_entry(page.entry) v
            order by v.entry_no desc;
    end if;
end
$$;

comment on function billing.list_entries(uuid, bigint, integer, text) is
    'The ledger of an account, newest first, page by page.';
revoke all on function billing.list_entries(uuid, bigint, integer, text) from public;
grant execute on function billing.list_entries(uuid, bigint, integer, text) to billing_api;
