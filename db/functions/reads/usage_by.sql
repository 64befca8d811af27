-- Buckets are hours, days, weeks (from Monday) or months in UTC. Amounts are what was taken, positive; a call is an
-- entry.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.usage_by(
    p_user_id uuid,
    p_from    timestamptz,
    p_to      timestamptz,
    p_bucket  text default 'day'
)
returns setof billing.usage_bucket
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.read_account(p_user_id);
    v_first   bigint;
    v_last    bigint;
begin
    if (p_from < p_to) is not true then
        perform billing_private.raise_error('invalid_request', 'p_from must be before p_to.');
    elsif (p_bucket in ('hour', 'day', 'week', 'month')) is not true then
        perform billing_private.raise_error('invalid_request', 'p_bucket must be hour, day, week or month.');
    end if;
    v_first := billing_private.entry_at(v_account, p_from - interval '1 microsecond') + 1;
    v_last := billing_private.entry_at(v_account, p_to - interval '1 microsecond');
    return query
        select
            date_trunc(p_bucket, e.created_at, 'UTC') as bucket,
            e.metadata ->> 'model' as model,
            count(*) filter (where e.amount < 0),
            -coalesce(sum(e.amount), 0),
            coalesce(
                sum(billing_private.as_count(e.metadata -> 'prompt_tokens')) filter (where e.amount < 0), 0
            )::bigint,
            coalesce(
                sum(billing_private.as_count(e.metadata -> 'completion_tokens')) filter (where e.amount < 0), 0
            )::bigint,
            coalesce(
                sum(billing_private.as_count(e.metadata -> 'cached_tokens')) filter (where e.amount < 0), 0
            )::bigint,
            count(*) filter (where e.amount = 0)
        from billing.credit_ledger e
        where e.user_id = p_user_id and e.entry_no between v_first and v_last and e.type = 'usage'
        group by 1, 2
        order by 1, 2;
end
$$;

comment on function billing.usage_by(uuid, timestamptz, timestamptz, text) is
    'Usage by time and model, from p_from until before p_to.';
revoke all on function billing.usage_by(uuid, timestamptz, timestamptz, text) from public;
grant execute on function billing.usage_by(uuid, timestamptz, timestamptz, text) to billing_api;
