-- What waits is refused as withdrawn; a file that has it lets it wait again (billing.begin_bulk_grant). What is granted stays.
-- Locks:   the bulk grant, until commit.
-- Answers: not_an_admin: success = false, and it is logged, under the nil uuid.
-- Raises:  UC400 invalid_request, UC404 bulk_grant_not_found, UC422 reason_required.
create or replace function billing.stop_bulk_grant(p_actor uuid, p_bulk_id uuid, p_reason text)
returns billing.bulk_change
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_change billing.bulk_change;
    v_now    timestamptz;
begin
    v_change := billing_private.begin_bulk_change(p_actor, p_bulk_id, p_reason);
    if v_change.success then
        v_now := billing_private.clock();
        update billing.bulk_grant_rows
        set outcome = 'refused', refusal = 'withdrawn', decided_by = p_actor, decided_at = v_now
        where bulk_id = p_bulk_id and outcome = 'pending';
        get diagnostics v_change.withdrawn = row_count;
    end if;
    return billing_private.end_bulk_change(p_actor, 'stop_bulk_grant', p_reason, v_change);
end
$$;

comment on function billing.stop_bulk_grant(uuid, uuid, text) is 'Withdraws what a bulk grant has not granted yet.';
revoke all on function billing.stop_bulk_grant(uuid, uuid, text) from public;
grant execute on function billing.stop_bulk_grant(uuid, uuid, text) to billing_api;
