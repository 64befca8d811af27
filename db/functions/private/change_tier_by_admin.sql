-- Raises: UC400 invalid_request, UC404 account_not_found, unknown_tier, UC409 idempotency_key_reused, not_migrated,
--         UC422 reason_required.
create or replace function billing_private.change_tier_by_admin(
    p_actor           uuid,
    p_user_id         uuid,
    p_tier            text,
    p_reason          text,
    p_idempotency_key text,
    p_consent         billing_private.consent default null
)
returns billing.admin_result
language plpgsql
as $$
declare
    v_account   billing.credit_accounts;
    v_before    text;
    v_entries   bigint;
    v_upgrade   numeric;
    v_refusal   text;
    v_now       timestamptz;
    v_action_id uuid;
    v_result    billing.admin_result;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key);
    if not exists (select from billing.billing_tiers where name = p_tier) then
        perform billing_private.raise_error('unknown_tier', format('There is no tier %L.', p_tier));
    end if;
    v_account := billing_private.lock_account(p_user_id);
    v_result := billing_private.replay_action(
        'change_tier', p_actor, p_user_id, p_idempotency_key, jsonb_build_object('after', p_tier)
    );
    if v_result.replayed then
        return v_result;
    end if;
    v_before := v_account.tier;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_action_id := billing_private.time_ordered_id(v_now);
    v_account := billing_private.settle_account(v_account, v_now);
    v_upgrade := billing_private.upgrade_amount(v_account, p_tier, billing_private.period_of(v_now));
    v_refusal := coalesce(
        billing_private.authorize_admin(p_actor, p_user_id, v_upgrade, v_now, p_consent),
        -- Whatever it grants this month: the next ones follow the tier.
        case when p_actor = p_user_id and p_tier <> v_before and p_consent is null then 'approval_required' end,
        case v_account.status when 'closed' then 'account_closed' end
    );
    if v_refusal is null then
        perform billing_private.count_admin_total(p_actor, v_upgrade, v_now);
        v_entries := v_account.entry_count;
        v_account := billing_private.move_to_tier(v_account, v_now, p_tier, p_actor);
        select entry_no, amount::numeric, balance_after::numeric
        into v_result.entry_no, v_result.amount, v_result.balance_after
        from billing.credit_ledger
        where user_id = p_user_id and entry_no > v_entries and type = 'tier_grant' and actor = p_actor;
    end if;
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, p_user_id, 'change_tier', nullif(v_upgrade, 0), p_reason,
        coalesce(v_refusal, 'done'),
        jsonb_build_object(
            'before', v_before, 'after', p_tier, 'entry_no', v_result.entry_no,
            'balance_after', coalesce(v_result.balance_after, v_account.balance),
            'idempotency_key', p_idempotency_key, 'approval_id', (p_consent).approval_id,
            'requested_by', (p_consent).requested_by
        )
    );
    return (
        v_refusal is null, v_refusal, v_result.entry_no, coalesce(v_result.amount, 0),
        coalesce(v_result.balance_after, v_account.balance), v_action_id, false
    )::billing.admin_result;
end
$$;

comment on function billing_private.change_tier_by_admin is
    'Changes the tier of an account, within the admin''s limits or with a second admin''s consent, and logs it.';
revoke all on function billing_private.change_tier_by_admin from public;
