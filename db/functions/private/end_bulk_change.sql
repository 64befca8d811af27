create or replace function billing_private.end_bulk_change(
    p_actor  uuid,
    p_action text,
    p_reason text,
    p_change billing.bulk_change
)
returns billing.bulk_change
language plpgsql
as $$
begin
    p_change.pending := billing_private.bulk_pending(p_change.bulk_id);
    p_change.action_id := billing_private.log_bulk_grant(
        p_actor, p_action, p_change.bulk_id, p_change.name, p_reason, coalesce(p_change.reason, 'done'),
        jsonb_build_object(
            'changed', nullif(p_change.changed, 0), 'withdrawn', nullif(p_change.withdrawn, 0)
        )
    );
    return p_change;
end
$$;

comment on function billing_private.end_bulk_change(uuid, text, text, billing.bulk_change) is
    'Logs what an admin did to the rows of a bulk grant, and returns it.';
revoke all on function billing_private.end_bulk_change(uuid, text, text, billing.bulk_change) from public;
