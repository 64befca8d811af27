create or replace function billing_private.as_bulk_grant(p_bulk billing.bulk_grants)
returns billing.bulk_grant
language plpgsql
stable
as $$
declare
    v_sums record;
begin
    select
        count(*) as row_count,
        count(*) filter (where outcome = 'pending') as pending,
        count(*) filter (where outcome = 'granted') as granted,
        count(*) filter (where outcome = 'refused') as refused,
        count(*) filter (where refusal = 'withdrawn') as withdrawn,
        coalesce(sum(amount), 0) as total,
        coalesce(sum(amount) filter (where outcome = 'pending'), 0) as pending_total,
        coalesce(sum(amount) filter (where outcome = 'granted'), 0) as granted_total,
        max(decided_at) as last_at
    into v_sums
    from billing.bulk_grant_rows
    where bulk_id = p_bulk.bulk_id;
    return (
        p_bulk.bulk_id, p_bulk.name, p_bulk.reason, p_bulk.created_by, p_bulk.created_at, v_sums.row_count,
        v_sums.pending, v_sums.granted, v_sums.refused, v_sums.withdrawn, v_sums.total, v_sums.pending_total,
        v_sums.granted_total, v_sums.last_at
    )::billing.bulk_grant;
end
$$;

comment on function billing_private.as_bulk_grant(billing.bulk_grants) is
    'A bulk grant with the sums of its rows, as the SQL API tells it.';
revoke all on function billing_private.as_bulk_grant(billing.bulk_grants) from public;
