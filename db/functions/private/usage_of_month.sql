-- Calls of the old system, and those of the account since the user left it that were not reversed: a rollback has told
-- the old system of the others.
create or replace function billing_private.usage_of_month(p_user_id uuid, p_period date)
returns setof billing.legacy_usage
language plpgsql
stable
as $$
declare
    v_start   timestamptz := p_period::timestamp at time zone 'UTC';
    v_end     timestamptz := (p_period + interval '1 month') at time zone 'UTC';
    v_account billing.credit_accounts;
    v_first   bigint;
begin
    select * into v_account from billing.credit_accounts where user_id = p_user_id;
    if found and not billing_private.is_rolled_back(p_user_id) then
        v_first := 1 + greatest(
            (select last_entry_no from billing.user_migrations where user_id = p_user_id and rolled_back_at is not null),
            billing_private.entry_at(v_account, v_start - interval '1 microsecond')
        );
    end if;
    return query
        select
            c.model, count(*), sum(c.prompt_tokens)::bigint, sum(c.completion_tokens)::bigint,
            sum(c.cached_tokens)::bigint, sum(c.cost)
        from (
            select u.model, u.prompt_tokens, u.completion_tokens, u.cached_tokens, u.cost
            from legacy_billing.legacy_usage u
            where u.user_id = p_user_id and u.created_at >= v_start and u.created_at < v_end
            union all
            select
                coalesce(e.metadata ->> 'model', 'other'), billing_private.as_count(e.metadata -> 'prompt_tokens'),
                billing_private.as_count(e.metadata -> 'completion_tokens'),
                billing_private.as_count(e.metadata -> 'cached_tokens'), -e.amount
            from billing.credit_ledger e
            where e.user_id = p_user_id and e.entry_no >= v_first and e.type = 'usage' and e.amount < 0
                and e.created_at < v_end
                and not exists (
                    select from billing.credit_ledger r where r.user_id = p_user_id and r.reversed_entry_no = e.entry_no
                )
        ) c (model, prompt_tokens, completion_tokens, cached_tokens, cost)
        group by c.model
        order by c.model;
end
$$;

comment on function billing_private.usage_of_month(uuid, date) is
    'What a user has used in a calendar month (UTC), in both systems, by model.';
revoke all on function billing_private.usage_of_month(uuid, date) from public;
