-- What was refused waits for the next run again, but for what was withdrawn.
-- Locks:   the bulk grant, until commit.
-- Answers: not_an_admin: success = false, and it is logged, under the nil uuid.
-- Raises:  UC400 invalid_request, UC404 bulk_grant_not_found, UC422 reason_required.
create or replace function billing.retry_bulk_grant(p_actor uuid, p_bulk_id uuid, p_reason text)
returns billing.bulk_change
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_change billing.bulk_change;
begin
    v_change := billing_private.begin_bulk_change(p_actor, p_bulk_id, p_reason);
    if v_change.success then
        update billing.bulk_grant_rows
        set outcome = 'pending', refusal = null, action_id = null, decided_by = null, decided_at = null
        where bulk_id = p_bulk_id and outcome = 'refused' and refusal <> 'withdrawn';
        get diagnostics v_change.changed = row_count;
    end if;
    return billing_private.end_bulk_change(p_actor, 'retry_bulk_grant', p_reason, v_change);
end
$$;

comment on function billing.retry_bulk_grant(uuid, uuid, text) is
    'Lets the refused rows of a bulk grant wait for the next run.';
revoke all on function billing.retry_bulk_grant(uuid, uuid, text) from public;
grant execute on function billing.retry_bulk_grant(uuid, uuid, text) to billing_api;
