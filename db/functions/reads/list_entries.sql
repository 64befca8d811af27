-- Newest first; page on with p_before = the last entry_no. From p_from until before p_to. A page costs the same on the
-- largest account.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated, UC422 limit_out_of_range.
create or replace function billing.list_entries(
    p_user_id      uuid,
    p_before       bigint default null,
    p_limit        integer default 50,
    p_type         text default null,
    p_reference_id text default null,
    p_from         timestamptz default null,
    p_to           timestamptz default null
)
returns setof billing.ledger_entry
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts;
    v_first   bigint;
    v_before  bigint := coalesce(p_before, 9223372036854775807);
begin
    perform billing_private.check_limit(p_limit);
    v_account := billing_private.read_account(p_user_id);
    begin
        perform p_type::billing.entry_type;
    exception
        when check_violation then
            perform billing_private.raise_error('invalid_request', format('p_type %L is no type of entry.', p_type));
    end;
    if p_from >= p_to then
        perform billing_private.raise_error('invalid_request', 'p_from must be before p_to.');
    end if;
    -- Entries are numbered in the order of their time.
    if p_from is not null then
        v_first := billing_private.entry_at(v_account, p_from - interval '1 microsecond') + 1;
    end if;
    if p_to is not null then
        v_before := least(
            v_before, billing_private.entry_at(v_account, p_to - interval '1 microsecond') + 1
        );
    end if;
    -- Usage is what an account is full of, with or without references; everything else has an index of its own.
    if p_type <> 'usage' then
        return query
            select v.*
            from (
                select e as entry
                from billing.credit_ledger e
                where e.user_id = p_user_id
                    and e.type = p_type
                    and e.type <> 'usage'
                    and e.entry_no < v_before
                    and (v_first is null or e.entry_no >= v_first)
                    and (p_reference_id is null or e.reference_id = p_reference_id)
                order by e.entry_no desc
                limit p_limit
            ) page
            cross join lateral billing_private.as_ledger_entry(page.entry) v
            order by v.entry_no desc;
    elsif p_reference_id is not null then
        return query
            select v.*
            from (
                select e as entry
                from billing.credit_ledger e
                where e.user_id = p_user_id
                    and e.reference_id = p_reference_id
                    and e.entry_no < v_before
                    and (v_first is null or e.entry_no >= v_first)
                    and (p_type is null or e.type = 'usage')
                order by e.reference_id desc, e.user_id desc, e.entry_no desc
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
                where e.user_id = p_user_id
                    and e.entry_no < v_before
                    and (v_first is null or e.entry_no >= v_first)
                    and (p_type is null or e.type = 'usage')
                order by e.entry_no desc
                limit p_limit
            ) page
            cross join lateral billing_private.as_ledger_entry(page.entry) v
            order by v.entry_no desc;
    end if;
end
$$;

comment on function billing.list_entries(
    uuid, bigint, integer, text, text, timestamptz, timestamptz
) is 'The ledger of an account, newest first, page by page.';
revoke all on function billing.list_entries(
    uuid, bigint, integer, text, text, timestamptz, timestamptz
) from public;
grant execute on function billing.list_entries(
    uuid, bigint, integer, text, text, timestamptz, timestamptz
) to billing_api;
