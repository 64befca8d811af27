-- The lots that are there are used in burn order at the pace of the last 14 days. What is held is as good as spent;
-- what is still to come is told beside. lasts_days and runs_out_at are null when nothing is used, or when it lasts more
-- than 10 years. expires_unused is what of the lots expires until then.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.forecast(p_user_id uuid)
returns billing.forecast
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_longest constant numeric := 3650::numeric;
    v_stored  billing.credit_accounts := billing_private.read_account(p_user_id);
    v_now     timestamptz := greatest(billing_private.clock(), v_stored.updated_at);
    v_account billing.credit_accounts := billing_private.settled_account(v_stored, v_now);
    v_per_day numeric := billing_private.used_per_day(v_stored, v_now);
    v_held    numeric := v_account.held::numeric;
    -- Days from here on.
    v_passed  numeric := 0::numeric;
    v_ends    numeric;
    v_left    numeric;
    v_used    numeric;
    v_unused  numeric := 0::numeric;
    v_lot     record;
    v_next    record;
begin
    for v_lot in
        select remaining, expires_at
        from billing.list_grants(p_user_id)
        -- A lot that is past its time is kept for the holds alone.
        order by coalesce(expires_at > v_now, true), priority, expires_at nulls last, grant_no
    loop
        v_left := greatest(v_lot.remaining - v_held, 0);
        v_held := greatest(v_held - v_lot.remaining, 0);
        v_ends := coalesce((extract(epoch from v_lot.expires_at) - extract(epoch from v_now)) / 86400, 'infinity');
        v_used := case
            when v_per_day = 0 or v_ends <= v_passed then 0
            else least(v_left, v_per_day * (v_ends - v_passed))
        end;
        if v_used < v_left then
            v_passed := greatest(v_passed, v_ends);
            v_unused := v_unused + case when v_ends <= v_longest then v_left - v_used else 0 end;
        elsif v_used > 0 then
            v_passed := v_passed + v_used / v_per_day;
        end if;
    end loop;
    select * into v_next from billing_private.next_tier_grant(v_account, v_now);
    return (
        p_user_id, trim_scale(round(v_per_day, 9)), v_account.balance - v_account.held,
        case when v_per_day > 0 and v_passed <= v_longest then round(v_passed, 2) end,
        case when v_per_day > 0 and v_passed <= v_longest then v_now + make_interval(secs => v_passed * 86400) end,
        trim_scale(round(v_unused, 9)), v_next.at, v_next.amount
    )::billing.forecast;
end
$$;

comment on function billing.forecast(uuid) is
    'How long the credits of an account last at its present pace, what expires until then, and what comes next.';
revoke all on function billing.forecast(uuid) from public;
grant execute on function billing.forecast(uuid) to billing_api;
