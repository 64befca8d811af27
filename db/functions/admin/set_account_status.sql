-- active, frozen (nothing can be spent, live holds can still be captured) or closed (nothing moves). An account that is
-- unfrozen gets the tier grants that it missed; one that is reopened, this month's. No credits are taken: what a closed
-- account holds is there when it reopens. An open dispute keeps an account frozen when the admins' freeze ends; the log
-- says what the status is then.
-- Locks:   the account row, then the admin's row, until commit.
-- Replay:  the same key, admin and status returns the first result with replayed = true; a refusal binds no key.
-- Answers: not_an_admin, own_account, account_has_holds (a close with live holds), dispute_open (an admin cannot end what
--          no admin began): success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 account_not_found, UC409 idempotency_key_reused, not_migrated,
--          UC422 reason_required, unknown_status.
create or replace function billing.set_account_status(
    p_actor           uuid,
    p_user_id         uuid,
    p_status          text,
    p_reason          text,
    p_idempotency_key text default null
)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account   billing.credit_accounts;
    v_before    text;
    v_refusal   text;
    v_now       timestamptz;
    v_action_id uuid;
    v_result    billing.admin_result;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key);
    if (p_status in ('active', 'frozen', 'closed')) is not true then
        perform billing_private.raise_error('unknown_status', format('p_status is %L: name active, frozen or closed.', p_status));
    end if;
    v_account := billing_private.lock_account(p_user_id);
    v_result := billing_private.replay_action(
        'set_account_status', p_actor, p_user_id, p_idempotency_key, jsonb_build_object('wanted', p_status)
    );
    if v_result.replayed then
        return v_result;
    end if;
    v_before := v_account.status;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_action_id := billing_private.time_ordered_id(v_now);
    v_account := billing_private.settle_account(v_account, v_now);
    v_refusal := coalesce(
        billing_private.authorize_admin(p_actor, p_user_id, 0, v_now),
        case
            when p_actor = p_user_id then 'own_account'
            when p_status = 'closed' and v_account.held > 0 then 'account_has_holds'
            when p_status = 'active' and v_before = 'frozen' and not exists (
                select from billing.account_freezes where user_id = p_user_id and cause = 'admin'
            ) then 'dispute_open'
        end
    );
    if v_refusal is null then
        v_account := billing_private.move_to_status(v_account, v_now, p_status);
    end if;
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, p_user_id, 'set_account_status', null, p_reason, coalesce(v_refusal, 'done'),
        jsonb_build_object(
            'before', v_before, 'after', case when v_refusal is null then v_account.status else p_status end,
            'wanted', p_status, 'balance_after', v_account.balance, 'idempotency_key', p_idempotency_key
        )
    );
    return (v_refusal is null, v_refusal, null, 0, v_account.balance, v_action_id, false)::billing.admin_result;
end
$$;

comment on function billing.set_account_status(uuid, uuid, text, text, text) is
    'Freezes, unfreezes, closes or reopens an account.';
revoke all on function billing.set_account_status(uuid, uuid, text, text, text) from public;
grant execute on function billing.set_account_status(uuid, uuid, text, text, text) to billing_api;
