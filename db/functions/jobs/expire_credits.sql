-- One batch: accounts of which a lot or a hold has ended by p_at are settled as of now. Nobody can spend what has expired
-- before this runs either: it only books it.
-- Locks:  the accounts of the batch, in the order of their ids, until commit.
-- Replay: an account that is settled is not settled again.
-- Raises: UC422 time_lies_ahead, limit_out_of_range.
create or replace function billing.expire_credits(
    p_at    timestamptz default null,
    p_limit integer default 50,
    p_after jsonb default null
)
returns billing.job_step
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_at      timestamptz := billing_private.job_time(p_at);
    v_due     timestamptz := coalesce((p_after ->> 'due')::timestamptz, '-infinity');
    v_user_id uuid := coalesce((p_after ->> 'user_id')::uuid, '00000000-0000-0000-0000-000000000000');
    v_ids     uuid[];
    v_step    billing.job_step;
begin
    perform billing_private.check_limit(p_limit);
    select array_agg(a.user_id order by a.next_expiry_at, a.user_id), max(a.next_expiry_at) into v_ids, v_due
    from (
        select user_id, next_expiry_at
        from billing.credit_accounts
        where next_expiry_at <= v_at and (next_expiry_at, user_id) > (v_due, v_user_id)
        order by next_expiry_at, user_id
        limit p_limit
    ) a;
    v_step := billing_private.work_on_accounts('settle', v_ids, billing_private.period_of(v_at));
    if cardinality(v_ids) = p_limit then
        v_step.next := jsonb_build_object('due', v_due, 'user_id', v_ids[p_limit]);
    end if;
    return v_step;
end
$$;

comment on function billing.expire_credits(timestamptz, integer, jsonb) is
    'Settles a batch of accounts of which credits have expired or holds are overdue.';
revoke all on function billing.expire_credits(timestamptz, integer, jsonb) from public;
grant execute on function billing.expire_credits(timestamptz, integer, jsonb) to billing_api;
