-- Like a positive adjustment, with an expiry.
-- Locks, replay and answers as billing.adjust_credits; the key's request is the amount and the expiry.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 idempotency_key_reused, not_migrated,
--         UC422 amount_not_positive, amount_too_precise, amount_too_large, reason_required, expiry_not_ahead.
create or replace function billing.admin_grant_credits(
    p_actor           uuid,
    p_user_id         uuid,
    p_amount          numeric,
    p_reason          text,
    p_expires_at      timestamptz default null,
    p_idempotency_key text default null
)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_move('admin_grant_credits', p_actor, p_amount, p_reason, p_idempotency_key);
    return billing_private.move_by_admin(
        'admin_grant_credits', p_actor, p_user_id, p_amount, p_reason, p_expires_at, p_idempotency_key
    );
end
$$;

comment on function billing.admin_grant_credits(uuid, uuid, numeric, text, timestamptz, text) is
    'Grants credits by hand, with an optional expiry, within the admin''s limits.';
revoke all on function billing.admin_grant_credits(uuid, uuid, numeric, text, timestamptz, text) from public;
grant execute on function billing.admin_grant_credits(uuid, uuid, numeric, text, timestamptz, text) to billing_api;
