-- The old system knows no allowance, only a limit and the usage below it: where calls alone don't lead to what was left
-- of the month's credits (an upgrade, an adjustment, a tier whose limit was another there), one record does. Where the
-- month was not granted here (p_allowance is null), calls were paid from other credits, and the usage stays p_used.
create or replace function billing_private.balance_old_usage(
    p_user_id   uuid,
    p_allowance numeric,
    p_limit     numeric,
    p_used      numeric,
    p_round     integer,
    p_now       timestamptz
)
returns void
language plpgsql
as $$
declare
    v_used numeric := billing_private.old_usage_of_month(p_user_id, billing_private.period_of(p_now));
    v_cost numeric := case
        when p_allowance is null then p_used - v_used
        when greatest(0, p_limit - v_used) <> p_allowance then p_limit - p_allowance - v_used
        else 0
    end;
begin
    if v_cost <> 0 then
        insert into legacy_billing.legacy_usage (
            user_id, model, prompt_tokens, completion_tokens, cached_tokens, cost, paid_from_credit, request_key,
            created_at
        )
        values (
            p_user_id, 'rollback', 0, 0, 0, v_cost, 0,
            format('rollback/%s/%s', p_round, to_char(p_now at time zone 'UTC', 'YYYYMMDDHH24MISSUS')), p_now
        );
    end if;
end
$$;

comment on function billing_private.balance_old_usage is
    'Makes the old system leave a user as much of the month as the account did.';
revoke all on function billing_private.balance_old_usage from public;
