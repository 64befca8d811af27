-- A positive amount is a lot without expiry; a negative one burns lots in their order, like usage. Credits of the
-- admin's own account are moved with another admin's approval.
-- Locks:   the account row, then the admin's row, until commit.
-- Replay:  the same key, admin and amount returns the first result with replayed = true; a refusal binds no key.
-- Answers: not_an_admin, admin_limit_exceeded, approval_required, account_closed, insufficient_credits: success =
--          false, nothing moves, and the attempt is in the admin log.
-- Raises:  UC400 invalid_request, UC404 account_not_found, UC409 idempotency_key_reused, not_migrated,
--          UC422 amount_zero, amount_too_precise, amount_too_large, reason_required.
create or replace function billing.adjust_credits(
    p_actor           uuid,
    p_user_id         uuid,
    p_amount          numeric,
    p_reason          text,
    p_idempotency_key text default null
)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_move('adjust_credits', p_actor, p_amount, p_reason, p_idempotency_key);
    return billing_private.move_by_admin(
        'adjust_credits', p_actor, p_user_id, p_amount, p_reason, null, p_idempotency_key
    );
end
$$;

comment on function billing.adjust_credits(uuid, uuid, numeric, text, text) is
    'Adds or removes credits by hand, within the admin''s limits.';
revoke all on function billing.adjust_credits(uuid, uuid, numeric, text, text) from public;
grant execute on function billing.adjust_credits(uuid, uuid, numeric, text, text) to billing_api;
