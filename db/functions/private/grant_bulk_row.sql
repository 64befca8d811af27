-- As billing.admin_grant_credits, under a key that the user has once for this bulk grant; what that would raise, such as
-- that there is no account, is the refusal of this row alone. The caller holds the locks of the bulk grant, the accounts of
-- the batch and the actor's row.
create or replace function billing_private.grant_bulk_row(p_actor uuid, p_row billing.bulk_grant_rows)
returns boolean
language plpgsql
as $$
declare
    v_done billing.admin_result;
    v_now  timestamptz;
begin
    begin
        v_done := billing_private.move_by_admin(
            p_operation => 'admin_grant_credits', p_actor => p_actor, p_user_id => p_row.user_id,
            p_amount => p_row.amount, p_reason => p_row.reason, p_expires_at => p_row.expires_at,
            p_idempotency_key => 'bulk:' || p_row.bulk_id
        );
    exception
        when sqlstate 'UC404' or sqlstate 'UC409' or sqlstate 'UC422' then
            v_done.success := false;
            v_done.reason := sqlerrm;
    end;
    v_now := billing_private.clock();
    update billing.bulk_grant_rows
    set outcome = case when v_done.success then 'granted' else 'refused' end,
        refusal = v_done.reason,
        entry_no = v_done.entry_no,
        action_id = v_done.action_id,
        decided_by = p_actor,
        decided_at = v_now
    where bulk_id = p_row.bulk_id and user_id = p_row.user_id;
    return v_done.success;
end
$$;

comment on function billing_private.grant_bulk_row(uuid, billing.bulk_grant_rows) is
    'Grants one row of a bulk grant, or notes why not.';
revoke all on function billing_private.grant_bulk_row(uuid, billing.bulk_grant_rows) from public;
