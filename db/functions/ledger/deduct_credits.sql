-- Locks:   the account row, until commit.
-- Replay:  the same key, amount and reference returns the first entry with replayed = true; a refusal binds no key.
-- Answers: insufficient_credits, account_frozen, account_closed: success = false, and a usage entry of 0 is left.
-- Raises:  UC400 invalid_request, UC404 account_not_found, UC409 idempotency_key_reused, not_migrated,
--          UC422 amount_not_positive, amount_too_precise, amount_too_large.
create or replace function billing.deduct_credits(
    p_user_id         uuid,
    p_amount          numeric,
    p_description     text default null,
    p_reference_type  text default null,
    p_reference_id    text default null,
    p_idempotency_key text default null,
    p_metadata        jsonb default null
)
returns billing.deduction
language plpgsql
security definer
set search_path = pg_temp
as $$
begin
    return billing_private.deduct(
        true, 'deduct_credits', p_user_id, p_amount, null, null, null, null, p_description, p_reference_type,
        p_reference_id, p_idempotency_key, p_metadata
    );
end
$$;

comment on function billing.deduct_credits(uuid, numeric, text, text, text, text, jsonb) is
    'Takes credits from an account, or refuses and says why.';
revoke all on function billing.deduct_credits(uuid, numeric, text, text, text, text, jsonb) from public;
grant execute on function billing.deduct_credits(uuid, numeric, text, text, text, text, jsonb) to billing_api;
