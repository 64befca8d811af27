-- Takes what the call cost: less than was held (the rest is released), as much, or more when the available credits
-- cover the excess. A hold that has expired or was released is collected again when the balance covers it. A live hold
-- can be captured, up to its amount, while the account is frozen.
-- Locks:   the account row, until commit.
-- Replay:  the same key, hold and amount returns the first entry with replayed = true; a refusal binds no key.
-- Answers: insufficient_credits, account_frozen, account_closed: success = false, and a usage entry of 0 is left.
-- Raises:  UC400 invalid_request, UC404 account_not_found, hold_not_found, UC409 hold_not_active,
--          idempotency_key_reused, not_migrated, UC422 amount_not_positive, amount_too_precise, amount_too_large.
create or replace function billing.capture_hold(
    p_user_id         uuid,
    p_hold_id         uuid,
    p_amount          numeric,
    p_description     text default null,
    p_idempotency_key text default null,
    p_metadata        jsonb default null
)
returns billing.deduction
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts;
    v_hold    billing.credit_holds;
    v_result  billing.deduction;
    v_refusal text;
    v_excess  numeric;
    v_now     timestamptz;
begin
    perform billing_private.check_amount(p_amount);
    perform billing_private.check_texts(p_description, null, null, p_idempotency_key, p_metadata);
    v_account := billing_private.lock_account(p_user_id);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    if v_account.next_expiry_at <= v_now then
        v_account := billing_private.settle_account(v_account, v_now);
    end if;
    if p_idempotency_key is not null then
        v_result := billing_private.replay_spend(
            true, v_account, 'capture_hold', p_idempotency_key, p_amount, null, null, null, null, 'hold',
            p_hold_id::text
        );
    end if;
    if v_result.replayed then
        return v_result;
    end if;
    v_hold := billing_private.read_hold(p_user_id, p_hold_id);
    if v_hold.status = 'captured' then
        perform billing_private.raise_error('hold_not_active', format(
            'Hold %s was captured by entry %s.', p_hold_id, v_hold.entry_no
        ));
    end if;

    v_excess := case when v_hold.status = 'active' then p_amount - v_hold.amount else p_amount end;
    if v_excess > 0 then
        v_refusal := billing_private.spend_refusal(v_account, v_excess);
    end if;
    if v_refusal = 'insufficient_credits' then
        if billing_private.grant_if_due(p_user_id, billing_private.period_of(v_now)) then
            v_account := billing_private.read_account(p_user_id);
            v_refusal := billing_private.spend_refusal(v_account, v_excess);
        end if;
    end if;
    if v_refusal is not null then
        v_account := billing_private.refuse_spend(
            v_account, v_now, v_refusal, p_amount, 'capture_hold', p_idempotency_key, 'hold', p_hold_id::text,
            p_description, p_metadata
        );
        return (
            false, v_account.entry_count, 0, v_account.balance, v_account.balance - v_account.held, v_refusal, false
        )::billing.deduction;
    end if;

    if v_hold.status = 'active' then
        v_account.held := v_account.held - v_hold.amount;
    end if;
    v_account := billing_private.append_entry(
        v_account, v_now, 'usage', -p_amount, p_amount, 'capture_hold', p_idempotency_key, 'hold', p_hold_id::text,
        p_description, p_metadata
    );
    v_result := (true, v_account.entry_count, p_amount, v_account.balance, null, null, false)::billing.deduction;
    update billing.credit_holds
    set status = 'captured', captured = p_amount, entry_no = v_result.entry_no, ended_at = v_now
    where user_id = p_user_id and hold_id = p_hold_id;
    v_account := billing_private.settle_account(v_account, v_now);
    v_result.available := v_account.balance - v_account.held;
    return v_result;
end
$$;

comment on function billing.capture_hold(uuid, uuid, numeric, text, text, jsonb) is
    'Takes credits against a hold and ends it, or refuses and says why.';
revoke all on function billing.capture_hold(uuid, uuid, numeric, text, text, jsonb) from public;
grant execute on function billing.capture_hold(uuid, uuid, numeric, text, text, jsonb) to billing_api;
