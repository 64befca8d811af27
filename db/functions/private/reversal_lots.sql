-- The account is settled, so the burns that overlap the entry's stretch of the usage axis are all there.
create or replace function billing_private.reversal_lots(p_entry billing.credit_ledger, p_now timestamptz)
returns billing_private.lot[]
language plpgsql
stable
as $$
declare
    v_grace interval := (select reversal_grace from billing.billing_settings);
begin
    return (
        select array_agg(
            (
                null, f.amount, f.priority,
                case
                    when f.expires_at <= p_now then (p_now at time zone 'UTC' + v_grace) at time zone 'UTC'
                    else f.expires_at
                end,
                f.origin_no
            )::billing_private.lot
            order by f.from_used
        )
        from billing_private.burned_between(p_entry.user_id, p_entry.used_after + p_entry.amount, p_entry.used_after) f
    );
end
$$;

comment on function billing_private.reversal_lots(billing.credit_ledger, timestamptz) is
    'The lots that bring back what an entry burned, each like the one that it came from.';
revoke all on function billing_private.reversal_lots(billing.credit_ledger, timestamptz) from public;
