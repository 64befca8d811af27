create or replace function billing_private.as_hold(p_hold billing.credit_holds, p_at timestamptz)
returns billing.hold
language sql
immutable
as $$
    select (
        p_hold.user_id, p_hold.hold_id, p_hold.amount, p_hold.captured,
        case when p_hold.status = 'active' and p_hold.expires_at <= p_at then 'expired' else p_hold.status end,
        p_hold.expires_at, p_hold.description, p_hold.idempotency_key, p_hold.entry_no, p_hold.created_at,
        case
            when p_hold.status = 'active' and p_hold.expires_at <= p_at then p_hold.expires_at
            else p_hold.ended_at
        end
    )::billing.hold
$$;

comment on function billing_private.as_hold(billing.credit_holds, timestamptz) is
    'A hold as the SQL API tells it: overdue ones have expired.';
revoke all on function billing_private.as_hold(billing.credit_holds, timestamptz) from public;
