-- For what the admin's limits refuse, and for the admin's own account: the action, named by its function
-- (adjust_credits, admin_grant_credits, reverse_entry, request_refund, change_tier) with that function's arguments,
-- waits for another admin until billing_settings.approval_lifetime has gone by. It must be possible at this moment but
-- for the limits. What the admin may do alone can be asked for as well: a second pair of eyes is theirs to want.
-- Locks:   the account row, then the admin's row, until commit.
-- Replay:  the same key, admin and arguments returns the request with replayed = true and its status of that moment.
-- Answers: not_an_admin, account_closed, insufficient_credits, payment_not_found, payment_disputed,
--          refund_exceeds_payment: success = false, and it is logged.
-- Raises:  what the action raises: UC400 invalid_request, UC404 account_not_found, entry_not_found, unknown_tier,
--          UC409 already_reversed, idempotency_key_reused, not_migrated, UC422 amount_not_positive,
--          amount_not_whole_cents, amount_too_large, amount_too_precise, amount_zero, entry_not_reversible,
--          expiry_not_ahead, reason_required.
create or replace function billing.request_approval(
    p_actor             uuid,
    p_user_id           uuid,
    p_action            text,
    p_reason            text,
    p_amount            numeric default null,
    p_expires_at        timestamptz default null,
    p_entry_no          bigint default null,
    p_tier              text default null,
    p_stripe_refund     boolean default false,
    p_payment_intent_id text default null,
    p_grant_credits     boolean default false,
    p_owe_spent         boolean default false,
    p_idempotency_key   text default null
)
returns billing.approval_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts;
    v_wanted  billing.approval_requests;
    v_asked   billing.approval_requests;
    v_preview billing.action_preview;
    v_now     timestamptz;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key);
    v_wanted := billing_private.wanted_approval(
        p_actor, p_user_id, p_action, p_reason, p_amount, p_expires_at, p_entry_no, p_tier, p_stripe_refund,
        p_payment_intent_id, p_grant_credits, p_owe_spent, p_idempotency_key
    );
    v_account := billing_private.lock_account(p_user_id);
    select * into v_asked
    from billing.approval_requests
    where user_id = p_user_id and requested_by = p_actor and idempotency_key = p_idempotency_key;
    if found then
        return billing_private.replay_request(v_asked, v_wanted, p_amount);
    end if;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_wanted.approval_id := billing_private.time_ordered_id(v_now);
    v_wanted.requested_at := v_now;
    v_wanted.from_tier := case p_action when 'change_tier' then v_account.tier end;
    v_wanted.open_until := v_now + (select approval_lifetime from billing.billing_settings);
    v_wanted.status := 'open';
    v_preview := billing_private.try_action(
        p_actor, p_user_id, billing_private.as_admin_request(v_wanted), ('asked', null, null)::billing_private.consent
    );
    v_wanted.amount := coalesce(p_amount, nullif(v_preview.amount, 0));
    if v_preview.success then
        insert into billing.approval_requests select v_wanted.*;
    end if;
    return billing_private.log_decision(
        v_wanted, 'request_approval', p_actor, p_reason, v_preview.reason, v_now
    );
end
$$;

comment on function billing.request_approval is
    'Asks another admin for an action: above the own limits, on the own account, or by choice.';
revoke all on function billing.request_approval from public;
grant execute on function billing.request_approval to billing_api;
