-- For a hold whose call will not end by itself. A call that ends later all the same is taken from the balance, as far as
-- that covers it.
-- Locks:   the account row, then the admin's row, until commit.
-- Replay:  the same key, admin and hold returns the first result with replayed = true; a refusal binds no key.
-- Answers: not_an_admin, own_account: success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 account_not_found, hold_not_found, UC409 hold_not_active,
--          idempotency_key_reused, not_migrated, UC422 reason_required.
create or replace function billing.admin_release_hold(
    p_actor           uuid,
    p_user_id         uuid,
    p_hold_id         uuid,
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
    v_hold      billing.credit_holds;
    v_result    billing.admin_result;
    v_refusal   text;
    v_now       timestamptz;
    v_action_id uuid;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key);
    v_account := billing_private.lock_account(p_user_id);
    v_result := billing_private.replay_action(
        'admin_release_hold', p_actor, p_user_id, p_idempotency_key, jsonb_build_object('hold_id', p_hold_id)
    );
    if v_result.replayed then
        return v_result;
    end if;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_action_id := billing_private.time_ordered_id(v_now);
    v_account := billing_private.settle_account(v_account, v_now);
    v_refusal := coalesce(
        billing_private.authorize_admin(p_actor, p_user_id, 0, v_now),
        case when p_actor = p_user_id then 'own_account' end
    );
    -- Who is no admin learns nothing about holds.
    if v_refusal is null then
        v_hold := billing_private.read_hold(p_user_id, p_hold_id);
        if v_hold.status <> 'active' then
            perform billing_private.raise_error('hold_not_active', format('Hold %s is %s.', p_hold_id, v_hold.status));
        end if;
        v_account := billing_private.end_hold(v_account, v_now, v_hold);
    end if;
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, p_user_id, 'admin_release_hold', null, p_reason, coalesce(v_refusal, 'done'),
        jsonb_build_object(
            'hold_id', p_hold_id, 'released', v_hold.amount, 'balance_after', v_account.balance,
            'idempotency_key', p_idempotency_key
        )
    );
    return (v_refusal is null, v_refusal, null, 0, v_account.balance, v_action_id, false)::billing.admin_result;
end
$$;

comment on function billing.admin_release_hold(uuid, uuid, uuid, text, text) is
    'Gives the credits of a hold back that its call does not end.';
revoke all on function billing.admin_release_hold(uuid, uuid, uuid, text, text) from public;
grant execute on function billing.admin_release_hold(uuid, uuid, uuid, text, text) to billing_api;
