-- What adjust_credits and admin_grant_credits share: lock, replay, authorize, move, log. The caller has checked what is
-- asked for (check_move).
-- Raises: UC404 account_not_found, UC409 idempotency_key_reused, not_migrated, UC422 expiry_not_ahead,
--         amount_too_large.
create or replace function billing_private.move_by_admin(
    p_operation       text,
    p_actor           uuid,
    p_user_id         uuid,
    p_amount          numeric,
    p_reason          text,
    p_expires_at      timestamptz,
    p_idempotency_key text,
    p_consent         billing_private.consent default null
)
returns billing.admin_result
language plpgsql
as $$
declare
    v_account   billing.credit_accounts := billing_private.lock_account(p_user_id);
    v_now       timestamptz := greatest(billing_private.clock(), v_account.updated_at);
    v_action_id uuid := billing_private.time_ordered_id(v_now);
    v_metadata  jsonb := jsonb_strip_nulls(
        jsonb_build_object('action_id', v_action_id, 'expires_at', p_expires_at at time zone 'UTC')
    );
    v_result    billing.admin_result;
    v_refusal   text;
begin
    v_result := billing_private.replay_admin(
        p_operation, p_actor, p_user_id, p_amount, v_metadata -> 'expires_at', p_idempotency_key
    );
    if v_result.replayed then
        return v_result;
    elsif p_expires_at <= v_now or not isfinite(p_expires_at) then
        perform billing_private.raise_error(
            'expiry_not_ahead', format('It is %s; p_expires_at is %s.', v_now, p_expires_at)
        );
    end if;
    v_account := billing_private.settle_account(v_account, v_now);
    v_refusal := case
        when v_account.status = 'closed' then 'account_closed'
        when v_account.balance - v_account.held + p_amount < 0 then 'insufficient_credits'
    end;
    v_refusal := coalesce(
        billing_private.authorize_admin(p_actor, p_user_id, abs(p_amount), v_now, p_consent), v_refusal
    );
    if v_refusal is null then
        perform billing_private.count_admin_total(p_actor, abs(p_amount), v_now);
        v_result.entry_no := v_account.entry_count + 1;
        v_result.balance_after := v_account.balance + p_amount;
        if p_amount > 0 then
            v_account := billing_private.book_grant(
                v_account, v_now, 'adjustment', 'adjustment',
                array[(null, p_amount, billing_private.source_priority('adjustment'), p_expires_at, null)]
                    ::billing_private.lot[],
                p_operation, p_idempotency_key, null, null, p_reason, v_metadata, p_actor
            );
        else
            v_account := billing_private.append_entry(
                v_account, v_now, 'adjustment', p_amount, -p_amount, p_operation, p_idempotency_key, null, null,
                p_reason, v_metadata, p_actor
            );
        end if;
    end if;
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, p_user_id, p_operation, p_amount, p_reason, coalesce(v_refusal, 'done'),
        jsonb_build_object(
            'entry_no', v_result.entry_no, 'balance_after', v_account.balance, 'expires_at', p_expires_at,
            'idempotency_key', p_idempotency_key, 'approval_id', (p_consent).approval_id,
            'requested_by', (p_consent).requested_by
        )
    );
    return (
        v_refusal is null, v_refusal, v_result.entry_no, case when v_refusal is null then p_amount else 0 end,
        coalesce(v_result.balance_after, v_account.balance), v_action_id, false
    )::billing.admin_result;
end
$$;

comment on function billing_private.move_by_admin is 'Moves credits by hand, within the admin''s limits, and logs it.';
revoke all on function billing_private.move_by_admin from public;
