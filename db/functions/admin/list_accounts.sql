-- In the order of user_id; page on with p_after = the last one. p_search is the beginning of a user_id.
-- Raises: UC400 invalid_request, UC422 limit_out_of_range.
create or replace function billing.list_accounts(
    p_search text default null,
    p_tier   text default null,
    p_status text default null,
    p_after  uuid default null,
    p_limit  integer default 50
)
returns setof billing.account
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_digits  text := replace(lower(coalesce(p_search, '')), '-', '');
    v_from    uuid;
    v_to      uuid;
    v_now     timestamptz := billing_private.clock();
    v_account billing.credit_accounts;
begin
    perform billing_private.check_limit(p_limit);
    if v_digits !~ '^[0-9a-f]{0,32}$' then
        perform billing_private.raise_error('invalid_request', 'p_search must be the beginning of a user_id.');
    end if;
    v_from := greatest(rpad(v_digits, 32, '0')::uuid, p_after);
    v_to := rpad(v_digits, 32, 'f')::uuid;
    for v_account in
        select *
        from billing.credit_accounts
        where user_id >= v_from
            and user_id <= v_to
            and (p_after is null or user_id > p_after)
            and (p_tier is null or tier = p_tier)
            and (p_status is null or status = p_status)
        order by user_id
        limit p_limit
    loop
        return next billing_private.as_account(
            billing_private.settled_account(v_account, greatest(v_now, v_account.updated_at))
        );
    end loop;
end
$$;

comment on function billing.list_accounts(text, text, text, uuid, integer) is
    'Accounts by the beginning of their user_id, tier and status.';
revoke all on function billing.list_accounts(text, text, text, uuid, integer) from public;
grant execute on function billing.list_accounts(text, text, text, uuid, integer) to billing_api;
