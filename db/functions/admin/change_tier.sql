-- Periods that were missed are granted at the old tier first. An upgrade then grants what the new tier's amount is
-- above the tier grants already made in this period; a downgrade counts from the next period. The entry is the
-- upgrade's grant.
-- The difference counts in the admin's limits, like any credits that an admin gives.
-- Locks:   the account row, then the admin's row, until commit.
-- Replay:  the same key, admin and tier returns the first result with replayed = true; a refusal binds no key.
-- Answers: not_an_admin, admin_limit_exceeded, approval_required, account_closed: success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 account_not_found, unknown_tier, UC409 idempotency_key_reused,
--          not_migrated, UC422 reason_required.
create or replace function billing.change_tier(
    p_actor           uuid,
    p_user_id         uuid,
    p_tier            text,
    p_reason          text,
    p_idempotency_key text default null
)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    return billing_private.change_tier_by_admin(p_actor, p_user_id, p_tier, p_reason, p_idempotency_key);
end
$$;

comment on function billing.change_tier(uuid, uuid, text, text, text) is
    'Moves an account to another tier; an upgrade grants the difference in this period.';
revoke all on function billing.change_tier(uuid, uuid, text, text, text) from public;
grant execute on function billing.change_tier(uuid, uuid, text, text, text) to billing_api;
