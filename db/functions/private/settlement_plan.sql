-- Reads and settle_account share this one computation, so a read shows exactly what a settlement would write.
-- The order inside a settlement: burns first (no lot can have ended while the stretch was used), then what has come
-- due, in time order, holds before lots. Credits under a hold do not expire: lots past their expiry keep what the
-- holds need, the first to lapse first; when a hold ends, the rest of them goes.
create or replace function billing_private.settlement_plan(p_account billing.credit_accounts, p_at timestamptz)
returns setof billing_private.settlement_step
language plpgsql
stable
as $$
declare
    v_position numeric := p_account.settled_total::numeric;
    v_held     numeric := p_account.held::numeric;
    v_ending   billing_private.lot[] := array[]::billing_private.lot[];
    v_lapsed   billing_private.lot[] := array[]::billing_private.lot[];
    v_taken    numeric;
    v_room     numeric;
    v_kept     numeric;
    v_lot      record;
    v_event    record;
begin
    for v_lot in
        select grant_no, remaining, priority, expires_at
        from billing.credit_grants
        where user_id = p_account.user_id and remaining > 0
        order by priority, expires_at nulls last, grant_no
    loop
        v_taken := least(v_lot.remaining, p_account.used_total - v_position);
        if v_taken > 0 then
            return next ('burn', v_lot.grant_no, null, v_taken, v_position, null)::billing_private.settlement_step;
            v_position := v_position + v_taken;
        end if;
        if v_lot.expires_at <= p_at and v_lot.remaining > v_taken then
            v_ending := v_ending || (
                v_lot.grant_no, v_lot.remaining - v_taken, v_lot.priority, v_lot.expires_at, null
            )::billing_private.lot;
        end if;
    end loop;

    for v_event in
        -- A lot that lapsed before is met again: nothing goes unless a hold has just ended, and then it goes now.
        select
            expires_at as at, 1 as rank, null::uuid as hold_id, grant_no, amount, priority,
            case
                when expires_at >= coalesce(p_account.next_expiry_at, 'infinity') then expires_at
                else p_at
            end as due_at
        from unnest(v_ending)
        union all
        select expires_at, 0, hold_id, null, amount, null, expires_at
        from billing.credit_holds
        where user_id = p_account.user_id and status = 'active' and expires_at <= p_at
        order by at, rank, priority, grant_no, hold_id
    loop
        if v_event.hold_id is not null then
            v_held := v_held - v_event.amount;
            return next ('hold', null, v_event.hold_id, v_event.amount, null, v_event.due_at)
                ::billing_private.settlement_step;
        else
            v_lapsed := v_lapsed || (
                v_event.grant_no, v_event.amount, v_event.priority, v_event.at, null
            )::billing_private.lot;
        end if;
        v_room := v_held;
        for v_index in 1 .. cardinality(v_lapsed) loop
            v_kept := least(v_lapsed[v_index].amount, v_room);
            v_room := v_room - v_kept;
            if v_kept < v_lapsed[v_index].amount then
                return next (
                    'expire', v_lapsed[v_index].grant_no, null, v_lapsed[v_index].amount - v_kept, null, v_event.due_at
                )::billing_private.settlement_step;
                v_lapsed[v_index].amount := v_kept;
            end if;
        end loop;
    end loop;
end
$$;

comment on function billing_private.settlement_plan(billing.credit_accounts, timestamptz) is
    'What settling an account at a time would do, step by step, without doing it.';
revoke all on function billing_private.settlement_plan(billing.credit_accounts, timestamptz) from public;
