-- Gives back what an entry took, to lots with the priority and expiry of those that paid for it. What came from a lot
-- that has expired meanwhile comes back for the grace of billing_settings.reversal_grace.
-- Locks:   the account row, then the admin's row, until commit.
-- Replay:  the same key, admin and entry returns the first result with replayed = true; a refusal binds no key.
-- Answers: not_an_admin, admin_limit_exceeded, approval_required, account_closed: success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 account_not_found, entry_not_found, UC409 already_reversed,
--          idempotency_key_reused, not_migrated, UC422 entry_not_reversible, reason_required.
create or replace function billing.reverse_entry(
    p_actor           uuid,
    p_user_id         uuid,
    p_entry_no        bigint,
    p_reason          text,
    p_idempotency_key text default null
)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    return billing_private.reverse_by_admin(p_actor, p_user_id, p_entry_no, p_reason, p_idempotency_key);
end
$$;

comment on function billing.reverse_entry(uuid, uuid, bigint, text, text) is
    'Gives back, once, what a usage entry or a negative adjustment took, to lots like those that paid for it.';
revoke all on function billing.reverse_entry(uuid, uuid, bigint, text, text) from public;
grant execute on function billing.reverse_entry(uuid, uuid, bigint, text, text) to billing_api;
