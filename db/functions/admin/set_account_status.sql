-- active, frozen (nothing can be spent, live holds can still be captured) or closed (nothing moves). An account that is
-- unfrozen gets the tier grants that it missed; one that is reopened, this month's. No credits are taken: what a closed
-- account holds is there when it reopens.
-- Locks:   the account row, then the admin's row, until commit.
-- Answers: not_an_admin, account_has_holds (a close with live holds): success = false, and it is logged.
-- Raises:  UC400 invalid_request, UC404 account_not_found, UC422 reason_required, unknown_status.
create or replace function billing.set_account_status(
    p_actor   uuid,
    p_user_id uuid,
    p_status  text,
    p_reason  text
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
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    if (p_status in ('active', 'frozen', 'closed')) is not true then
        perform billing_private.raise_error('unknown_status', format('Status %L is not one of them.', p_status));
    end if;
    v_account := billing_private.lock_account(p_user_id);
    v_before := v_account.status;
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    v_action_id := billing_private.time_ordered_id(v_now);
    v_account := billing_private.settle_account(v_account, v_now);
    v_refusal := coalesce(
        billing_private.authorize_admin(p_actor, 0, v_now),
        case when p_status = 'closed' and v_account.held > 0 then 'account_has_holds' end
    );
    if v_refusal is null then
        v_account.status := p_status;
        if p_status = 'active' then
            if v_before = 'closed' then
                v_account.granted_through := greatest(
                    v_account.granted_through, (billing_private.period_of(v_now) - interval '1 month')::date
                );
            end if;
            v_account := billing_private.catch_up_grants(v_account, v_now);
        else
            perform billing_private.save_account(v_account);
        end if;
    end if;
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, p_user_id, 'set_account_status', null, p_reason, coalesce(v_refusal, 'done'),
        jsonb_build_object('before', v_before, 'after', p_status)
    );
    return (v_refusal is null, v_refusal, null, 0, v_account.balance, v_action_id, false)::billing.admin_result;
end
$$;

comment on function billing.set_account_status(uuid, uuid, text, text) is
    'Freezes, unfreezes, closes or reopens an account.';
revoke all on function billing.set_account_status(uuid, uuid, text, text) from public;
grant execute on function billing.set_account_status(uuid, uuid, text, text) to billing_api;
