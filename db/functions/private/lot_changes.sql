create or replace function billing_private.lot_changes(p_user_id uuid, p_before billing.grant_lot[])
returns jsonb
language plpgsql
stable
as $$
begin
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'grant_no', lot.grant_no, 'source', lot.source, 'priority', lot.priority,
                    'expires_at', lot.expires_at, 'before', lot.before, 'after', lot.after
                )
                order by lot.priority, lot.expires_at nulls last, lot.grant_no
            ),
            '[]'
        )
        from (
            select
                coalesce(a.grant_no, b.grant_no) as grant_no, coalesce(a.source, b.source) as source,
                coalesce(a.priority, b.priority) as priority,
                case when a.grant_no is null then b.expires_at else a.expires_at end as expires_at,
                coalesce(b.remaining, 0) as before, coalesce(a.remaining, 0) as after
            from unnest(p_before) b
            full join billing.list_grants(p_user_id) a on a.grant_no = b.grant_no
        ) lot
        where lot.before <> lot.after
    );
end
$$;

comment on function billing_private.lot_changes(uuid, billing.grant_lot[]) is
    'The lots of which another rest is left than before, in burn order.';
revoke all on function billing_private.lot_changes(uuid, billing.grant_lot[]) from public;
