-- Reserves an amount, not lots: the capture burns in the order of its own time. The hold ends by itself after
-- p_expires_in.
-- Locks:   the account row, until commit.
-- Replay:  the same key and amount returns the first hold with replayed = true; a refusal binds no key.
-- Answers: insufficient_credits, account_frozen, account_closed: success = false, and a usage entry of 0 is left.
-- Raises:  UC400 invalid_request, UC404 account_not_found, UC409 idempotency_key_reused, not_migrated,
--          UC422 amount_not_positive, amount_too_precise, amount_too_large, expires_in_out_of_range.
create or replace function billing.hold_credits(
    p_user_id         uuid,
    p_amount          numeric,
    p_expires_in      interval default '15 minutes',
    p_description     text default null,
    p_idempotency_key text default null
)
returns billing.hold_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts;
    v_hold_id uuid;
    v_hold    billing.credit_holds;
    v_refusal text;
    v_now     timestamptz;
begin
    perform billing_private.check_amount(p_amount);
    perform billing_private.check_texts(p_description, p_idempotency_key => p_idempotency_key);
    if (p_expires_in > interval '0' and p_expires_in <= interval '30 days') is not true then
        perform billing_private.raise_error(
            'expires_in_out_of_range', format('p_expires_in is %s.', coalesce(p_expires_in::text, 'null'))
        );
    end if;

    v_account := billing_private.lock_account(p_user_id);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    if v_account.next_expiry_at <= v_now then
        v_account := billing_private.settle_account(v_account, v_now);
    end if;
    select * into v_hold
    from billing.credit_holds
    where user_id = p_user_id and idempotency_key = p_idempotency_key;
    if found then
        if v_hold.amount <> p_amount then
            perform billing_private.raise_error('idempotency_key_reused', format(
                'Key %L of user %s belongs to hold %s of %s.', p_idempotency_key, p_user_id, v_hold.hold_id,
                v_hold.amount
            ));
        end if;
        return (
            true, v_hold.hold_id, v_hold.amount, v_hold.expires_at, v_account.balance - v_account.held, null, true
        )::billing.hold_result;
    end if;

    v_refusal := billing_private.spend_refusal(v_account, p_amount);
    if v_refusal = 'insufficient_credits' then
        if billing_private.grant_if_due(p_user_id, billing_private.period_of(v_now)) then
            v_account := billing_private.read_account(p_user_id);
            v_refusal := billing_private.spend_refusal(v_account, p_amount);
        end if;
    end if;
    if v_refusal is not null then
        v_account := billing_private.refuse_spend(
            v_account, v_now, v_refusal, p_amount, 'hold_credits', p_idempotency_key, null, null, p_description, null
        );
        return (
            false, null, 0, null, v_account.balance - v_account.held, v_refusal, false
        )::billing.hold_result;
    end if;
    v_hold_id := billing_private.time_ordered_id(v_now);
    insert into billing.credit_holds (
        user_id, hold_id, amount, expires_at, description, idempotency_key, created_at
    )
    values (
        p_user_id, v_hold_id, p_amount,
        -- Days of 24 hours and months of 30 days, as in the comparison above: no time zone and no February count.
        v_now + make_interval(secs => extract(epoch from p_expires_in)), p_description, p_idempotency_key, v_now
    )
    returning * into v_hold;
    v_account.updated_at := v_now;
    v_account.held := v_account.held + p_amount;
    v_account.next_expiry_at := least(v_account.next_expiry_at, v_hold.expires_at);
    perform billing_private.save_account(v_account);
    return (
        true, v_hold.hold_id, p_amount, v_hold.expires_at, v_account.balance - v_account.held, null, false
    )::billing.hold_result;
end
$$;

comment on function billing.hold_credits(uuid, numeric, interval, text, text) is
    'Reserves credits for a call that is about to run, or refuses and says why.';
revoke all on function billing.hold_credits(uuid, numeric, interval, text, text) from public;
grant execute on function billing.hold_credits(uuid, numeric, interval, text, text) to billing_api;
