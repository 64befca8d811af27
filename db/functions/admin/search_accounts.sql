-- p_query is the beginning of a user_id or of what the application calls a user, an id of Stripe's (customer,
-- subscription, payment intent, refund), or a reference of the ledger. Accounts by user_id are in its order; page on
-- with p_after = the last user_id, if its row was found by user_id or without a query: there are no other pages. What
-- else is called so comes before them, on the first page: less than half of it where a user_id may begin so, else all.
-- Raises: UC400 invalid_request, UC422 limit_out_of_range.
create or replace function billing.search_accounts(
    p_query  text default null,
    p_tier   text default null,
    p_status text default null,
    p_after  uuid default null,
    p_limit  integer default 50
)
returns setof billing.account_match
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_query   text := nullif(btrim(p_query), '');
    v_digits  text := replace(lower(coalesce(v_query, '')), '-', '');
    v_is_id   boolean := v_query is null or v_digits ~ '^[0-9a-f]{1,32}$';
    v_others  integer := case when v_is_id then (p_limit - 1) / 2 else p_limit end;
    v_listed  uuid[] := array[]::uuid[];
    v_now     timestamptz := billing_private.clock();
    v_from    uuid;
    v_to      uuid;
    v_found   record;
    v_account billing.credit_accounts;
begin
    perform billing_private.check_limit(p_limit);
    if length(v_query) > 200 then
        perform billing_private.raise_error('invalid_request', 'p_query must have at most 200 characters.');
    end if;
    if v_query is not null and p_after is null then
        for v_found in select * from billing_private.find_users(v_query, p_tier, p_status, v_others) loop
            select * into v_account from billing.credit_accounts where user_id = v_found.user_id;
            v_listed := v_listed || v_found.user_id;
            return next billing_private.as_account_match(v_account, v_now, v_found.found_by);
        end loop;
    end if;
    if v_is_id then
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
                and user_id <> all (v_listed)
            order by user_id
            limit p_limit - cardinality(v_listed)
        loop
            return next billing_private.as_account_match(
                v_account, v_now, case when v_query is not null then 'user_id' end
            );
        end loop;
    end if;
end
$$;

comment on function billing.search_accounts(text, text, text, uuid, integer) is
    'Accounts by the beginning of a user_id or reference, by an id of Stripe''s, or by a reference of the ledger.';
revoke all on function billing.search_accounts(text, text, text, uuid, integer) from public;
grant execute on function billing.search_accounts(text, text, text, uuid, integer) to billing_api;
