-- For another admin than the one who asked, who would withdraw it.
-- Locks:   the request, then the admin's row, until commit.
-- Replay:  declining again what one has declined returns the first result with replayed = true.
-- Answers: not_an_admin, own_request: success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 approval_not_found, UC409 approval_not_open,
--          UC422 reason_required.
create or replace function billing.decline_request(
    p_actor       uuid,
    p_approval_id uuid,
    p_reason      text
)
returns billing.approval_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_asked   billing.approval_requests;
    v_refusal text;
    v_now     timestamptz;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    v_asked := billing_private.lock_approval(p_approval_id);
    v_now := greatest(billing_private.clock(), v_asked.requested_at);
    v_refusal := coalesce(
        billing_private.authorize_admin(p_actor, v_asked.user_id, 0, v_now),
        case when p_actor = v_asked.requested_by then 'own_request' end
    );
    return billing_private.dismiss_request(
        v_asked, 'decline_request', 'declined', p_actor, p_reason, v_refusal, v_now
    );
end
$$;

comment on function billing.decline_request(uuid, uuid, text) is 'Refuses what another admin has asked for.';
revoke all on function billing.decline_request(uuid, uuid, text) from public;
grant execute on function billing.decline_request(uuid, uuid, text) to billing_api;
