-- One batch: accounts that have not had the credits of p_at's month (UTC), or of one before; each gets every period that
-- it missed, once, at its tier. Yearly plans are granted by the month like all others. Frozen and closed accounts, and
-- those whose payment is overdue, are passed over until they are not. Goes on from p_after, the next of the batch before.
-- Locks:  the accounts of the batch, in the order of their ids, until commit.
-- Replay: an account that has had its credits is not granted again.
-- Raises: UC422 time_lies_ahead, limit_out_of_range.
create or replace function billing.grant_monthly_credits(
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
    v_through date := billing_private.period_of(billing_private.job_time(p_at));
    v_granted date := coalesce((p_after ->> 'granted_through')::date, '-infinity');
    v_user_id uuid := coalesce((p_after ->> 'user_id')::uuid, '00000000-0000-0000-0000-000000000000');
    v_ids     uuid[];
    v_step    billing.job_step;
begin
    perform billing_private.check_limit(p_limit);
    select array_agg(a.user_id order by a.granted, a.user_id), max(a.granted) into v_ids, v_granted
    from (
        select user_id, coalesce(granted_through, date '-infinity') as granted
        from billing.credit_accounts
        where status = 'active'
            and coalesce(granted_through, date '-infinity') < v_through
            and (coalesce(granted_through, date '-infinity'), user_id) > (v_granted, v_user_id)
        order by coalesce(granted_through, date '-infinity'), user_id
        limit p_limit
    ) a;
    v_step := billing_private.work_on_accounts('grant', v_ids, v_through);
    if cardinality(v_ids) = p_limit then
        v_step.next := jsonb_build_object('granted_through', v_granted::text, 'user_id', v_ids[p_limit]);
    end if;
    return v_step;
end
$$;

comment on function billing.grant_monthly_credits(timestamptz, integer, jsonb) is
    'Grants a batch of accounts the month''s credits, and what they missed.';
revoke all on function billing.grant_monthly_credits(timestamptz, integer, jsonb) from public;
grant execute on function billing.grant_monthly_credits(timestamptz, integer, jsonb) to billing_api;
