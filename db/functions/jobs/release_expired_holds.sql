-- One batch: holds whose time had come by p_at end, and their accounts are settled as of now. What an overdue hold
-- reserved can be spent before this runs too: it only books it.
-- Locks:  the accounts of the batch, in the order of their ids, until commit.
-- Replay: a hold that has ended is left as it is.
-- Raises: UC422 time_lies_ahead, limit_out_of_range.
create or replace function billing.release_expired_holds(
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
    select array_agg(h.user_id order by h.expires_at, h.user_id), max(h.expires_at) into v_ids, v_due
    from (
        select user_id, expires_at
        from billing.credit_holds
        where status = 'active' and expires_at <= v_at and (expires_at, user_id) > (v_due, v_user_id)
        order by expires_at, user_id
        limit p_limit
    ) h;
    v_step := billing_private.work_on_accounts(
        'settle', array(select distinct id from unnest(v_ids) id), billing_private.period_of(v_at)
    );
    if cardinality(v_ids) = p_limit then
        v_step.next := jsonb_build_object('due', v_due, 'user_id', v_ids[p_limit]);
    end if;
    return v_step;
end
$$;

comment on function billing.release_expired_holds(timestamptz, integer, jsonb) is
    'Settles a batch of accounts of which holds are overdue.';
revoke all on function billing.release_expired_holds(timestamptz, integer, jsonb) from public;
grant execute on function billing.release_expired_holds(timestamptz, integer, jsonb) to billing_api;
