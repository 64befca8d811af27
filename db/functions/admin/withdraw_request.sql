-- For who asked, and only for them; whether they are still an admin does not matter.
-- Locks:   the request, until commit.
-- Replay:  withdrawing again what one has withdrawn returns the first result with replayed = true.
-- Answers: not_your_request: success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 approval_not_found, UC409 approval_not_open,
--          UC422 reason_required (when an empty one is given).
create or replace function billing.withdraw_request(
    p_actor       uuid,
    p_approval_id uuid,
    p_reason      text default null
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
    perform billing_private.check_admin_request(p_actor, coalesce(p_reason, 'withdrawn'));
    v_asked := billing_private.lock_approval(p_approval_id);
    v_now := greatest(billing_private.clock(), v_asked.requested_at);
    v_refusal := case when p_actor <> v_asked.requested_by then 'not_your_request' end;
    return billing_private.dismiss_request(
        v_asked, 'withdraw_request', 'withdrawn', p_actor, p_reason, v_refusal, v_now
    );
end
$$;

comment on function billing.withdraw_request(uuid, uuid, text) is 'Takes back what one has asked for.';
revoke all on function billing.withdraw_request(uuid, uuid, text) from public;
grant execute on function billing.withdraw_request(uuid, uuid, text) to billing_api;
