-- Locks:  the bulk grant, until commit.
-- Raises: UC400 invalid_request, UC404 bulk_grant_not_found, UC422 reason_required.
create or replace function billing_private.begin_bulk_change(p_actor uuid, p_bulk_id uuid, p_reason text)
returns billing.bulk_change
language plpgsql
as $$
declare
    v_bulk   billing.bulk_grants;
    v_change billing.bulk_change;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    v_bulk := billing_private.lock_bulk_grant(p_bulk_id);
    v_change.success := billing_private.is_admin(p_actor);
    v_change.reason := case when not v_change.success then 'not_an_admin' end;
    v_change.bulk_id := v_bulk.bulk_id;
    v_change.name := v_bulk.name;
    v_change.added := 0;
    v_change.changed := 0;
    v_change.unchanged := 0;
    v_change.granted_otherwise := 0;
    v_change.withdrawn := 0;
    return v_change;
end
$$;

comment on function billing_private.begin_bulk_change(uuid, uuid, text) is
    'Locks a bulk grant, and says whether the actor may change its rows.';
revoke all on function billing_private.begin_bulk_change(uuid, uuid, text) from public;
