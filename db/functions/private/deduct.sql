-- The hot path: one locked row, one insert, one update. By amount, or by tokens when a model is given. What an account
-- can spend in the usual way is booked here without calling append_entry: a call costs as much as a statement.
-- Locks:   the account row, until commit.
-- Replay:  the same key with the same amount (or model and tokens) and reference tells the first entry again. The key's
--          unique index finds it: the insert does nothing then.
-- Errors:  of the caller are raised, or told as the reason when p_raise is false, so that a batch can go on.
create or replace function billing_private.deduct(
    p_raise             boolean,
    p_operation         text,
    p_user_id           uuid,
    p_amount            numeric,
    p_model             text,
    p_prompt_tokens     bigint,
    p_completion_tokens bigint,
    p_cached_tokens     bigint,
    p_description       text,
    p_reference_type    text,
    p_reference_id      text,
    p_idempotency_key   text,
    p_metadata          jsonb
)
returns billing.deduction
language plpgsql
as $$
declare
    v_account   billing.credit_accounts;
    v_now       timestamptz;
    v_price     record;
begin
    if (
        p_user_id is not null
        and case
            when p_model is null then billing_private.amount_problem(p_amount) is null
            else not billing_private.tokens_problem(p_prompt_tokens, p_completion_tokens, p_cached_tokens)
        end
        and billing_private.text_problem(
            p_description, p_reference_type, p_reference_id, p_idempotency_key, p_metadata
        ) is null
    ) is not true then
        return billing_private.reject_spend(
            p_raise, p_user_id, p_amount, p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens, p_description,
            p_reference_type, p_reference_id, p_idempotency_key, p_metadata
        );
    end if;

    select * into v_account
    from billing.credit_accounts
    where user_id = p_user_id
    for no key update;
    if not found then
        return billing_private.fail_spend(
            p_raise, billing_private.no_account(p_user_id), format('User %s has no account.', p_user_id)
        );
    end if;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    if v_account.next_expiry_at <= v_now then
        v_account := billing_private.settle_account(v_account, v_now);
    end if;
    if p_model is not null then
        v_price := billing_private.token_cost(
            p_model, p_prompt_tokens, p_completion_tokens, p_cached_tokens, v_now
        );
        p_amount := v_price.cost;
        p_metadata := coalesce(p_metadata, '{}') || v_price.basis;
    end if;

    if p_amount > 0
        and p_amount <= 1000000000000
        and v_account.balance - v_account.held >= p_amount
        and v_account.status = 'active'
    then
        p_metadata := billing_private.with_request(p_metadata);
        v_account.entry_count := v_account.entry_count + 1;
        v_account.balance := v_account.balance - p_amount;
        v_account.used_total := v_account.used_total + p_amount;
        v_account.chain_head := billing_private.entry_hash(
            v_account.chain_head, p_user_id, v_account.entry_count, v_now, 'usage', -p_amount, v_account.balance,
            v_account.used_total, p_operation, p_idempotency_key, p_reference_type, p_reference_id, p_description,
            p_metadata, null, null, null
        );
        insert into billing.credit_ledger (
            user_id, entry_no, created_at, type, amount, balance_after, used_after, operation, idempotency_key,
            reference_type, reference_id, description, metadata, entry_hash
        )
        values (
            p_user_id, v_account.entry_count, v_now, 'usage', -p_amount, v_account.balance, v_account.used_total,
            p_operation, p_idempotency_key, p_reference_type, p_reference_id, p_description, p_metadata,
            v_account.chain_head
        )
        on conflict (user_id, operation, idempotency_key) where idempotency_key is not null do nothing;
        if found then
            update billing.credit_accounts
            set updated_at = v_now,
                entry_count = v_account.entry_count,
                balance = v_account.balance,
                used_total = v_account.used_total,
                chain_head = v_account.chain_head
            where user_id = p_user_id;
            if v_account.balance < v_account.alert_below then
                v_account.updated_at := v_now;
                perform billing_private.save_account(
                    billing_private.watch_balance(v_account, v_now, 'usage')
                );
            end if;
            return (
                true, v_account.entry_count, p_amount, v_account.balance, v_account.balance - v_account.held, null,
                false
            )::billing.deduction;
        end if;
    end if;
    return billing_private.deduct_otherwise(
        p_raise, p_operation, v_now, p_user_id, p_amount, p_model, p_prompt_tokens, p_completion_tokens,
        p_cached_tokens, p_description, p_reference_type, p_reference_id, p_idempotency_key, p_metadata
    );
end
$$;

comment on function billing_private.deduct is 'Deducts an amount, or the cost of a call, from an account.';
revoke all on function billing_private.deduct from public;
