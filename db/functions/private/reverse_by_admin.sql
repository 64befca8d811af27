-- Raises: UC400 invalid_request, UC404 account_not_found, entry_not_found, UC409 already_reversed,
--         idempotency_key_reused, not_migrated, UC422 entry_not_reversible, reason_required.
create or replace function billing_private.reverse_by_admin(
    p_actor           uuid,
    p_user_id         uuid,
    p_entry_no        bigint,
    p_reason          text,
    p_idempotency_key text,
    p_consent         billing_private.consent default null
)
returns billing.admin_result
language plpgsql
as $$
declare
    v_account   billing.credit_accounts;
    v_entry     billing.credit_ledger;
    v_result    billing.admin_result;
    v_action_id uuid;
    v_refusal   text;
    v_now       timestamptz;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key);
    v_account := billing_private.lock_account(p_user_id);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_result := billing_private.replay_admin(
        'reverse_entry', p_actor, p_user_id, null, null, p_idempotency_key, p_entry_no
    );
    if v_result.replayed then
        return v_result;
    end if;
    v_action_id := billing_private.time_ordered_id(v_now);
    -- Who is no admin learns nothing about entries.
    v_refusal := billing_private.authorize_admin(p_actor, p_user_id, 0, v_now);
    if v_refusal is null then
        v_entry := billing_private.reversible_entry(p_user_id, p_entry_no);
        v_refusal := coalesce(
            billing_private.authorize_admin(p_actor, p_user_id, -v_entry.amount, v_now, p_consent),
            case v_account.status when 'closed' then 'account_closed' end
        );
    end if;
    v_account := billing_private.settle_account(v_account, v_now);
    if v_refusal is null then
        perform billing_private.count_admin_total(p_actor, -v_entry.amount, v_now);
        v_result.entry_no := v_account.entry_count + 1;
        v_result.balance_after := v_account.balance - v_entry.amount;
        v_account := billing_private.book_grant(
            v_account, v_now, 'reversal', 'reversal', billing_private.reversal_lots(v_entry, v_now), 'reverse_entry',
            p_idempotency_key, 'entry', p_entry_no::text, p_reason, jsonb_build_object('action_id', v_action_id),
            p_actor, p_entry_no
        );
    end if;
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, p_user_id, 'reverse_entry', -v_entry.amount, p_reason, coalesce(v_refusal, 'done'),
        jsonb_build_object(
            'entry_no', v_result.entry_no, 'reversed_entry_no', p_entry_no, 'balance_after', v_account.balance,
            'idempotency_key', p_idempotency_key, 'approval_id', (p_consent).approval_id,
            'requested_by', (p_consent).requested_by
        )
    );
    return (
        v_refusal is null, v_refusal, v_result.entry_no, case when v_refusal is null then -v_entry.amount else 0 end,
        coalesce(v_result.balance_after, v_account.balance), v_action_id, false
    )::billing.admin_result;
end
$$;

comment on function billing_private.reverse_by_admin is
    'Reverses an entry, within the admin''s limits or with a second admin''s consent, and logs it.';
revoke all on function billing_private.reverse_by_admin from public;
