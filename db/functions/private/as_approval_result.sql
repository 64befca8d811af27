-- Who is refused is told nothing of the account.
create or replace function billing_private.as_approval_result(
    p_asked    billing.approval_requests,
    p_refusal  text,
    p_replayed boolean
)
returns billing.approval_result
language plpgsql
volatile
as $$
declare
    v_done      billing.admin_actions_log;
    v_refund_id text;
begin
    if p_refusal is not null then
        return (
            false, p_refusal, p_asked.approval_id,
            case
                when p_refusal not in ('not_an_admin', 'not_your_request')
                    then billing_private.approval_status(p_asked, billing_private.clock())
            end,
            null, null, 0, null, null, null, p_replayed
        )::billing.approval_result;
    end if;
    select * into v_done
    from billing.admin_actions_log
    where target_user_id = p_asked.user_id and action_id = p_asked.action_id;
    v_refund_id := v_done.details ->> 'refund_id';
    return (
        true, null, p_asked.approval_id, billing_private.approval_status(p_asked, billing_private.clock()), p_asked.action_id,
        (v_done.details ->> 'entry_no')::bigint, coalesce(v_done.amount, 0),
        (v_done.details ->> 'balance_after')::numeric, v_refund_id::uuid,
        case when v_refund_id is not null then billing_private.pending_call('refund', v_refund_id) end, p_replayed
    )::billing.approval_result;
end
$$;

comment on function billing_private.as_approval_result(billing.approval_requests, text, boolean) is
    'What became of a request, as the SQL API tells it; what its action did is read from the admin log.';
revoke all on function billing_private.as_approval_result(billing.approval_requests, text, boolean) from public;
