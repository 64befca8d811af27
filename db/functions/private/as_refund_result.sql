create or replace function billing_private.as_refund_result(
    p_refund   billing.credit_refunds,
    p_account  billing.credit_accounts,
    p_refusal  text,
    p_replayed boolean
)
returns billing.refund_result
language plpgsql
stable
as $$
begin
    return (
        p_refusal is null, p_refusal, case when p_refusal is null then p_refund.refund_id end, p_refund.mode,
        p_refund.status, case when p_refusal is null then p_refund.amount::numeric else 0 end,
        p_refund.stripe_refund_id, p_refund.entry_no, p_refund.clawed, p_refund.spent, p_refund.owed,
        p_account.balance, p_refund.action_id,
        case when p_refusal is null then billing_private.pending_call('refund', p_refund.refund_id::text) end,
        p_replayed
    )::billing.refund_result;
end
$$;

comment on function billing_private.as_refund_result(billing.credit_refunds, billing.credit_accounts, text, boolean) is
    'What a request for a refund did, as the SQL API tells it.';
revoke all on function billing_private.as_refund_result(
    billing.credit_refunds, billing.credit_accounts, text, boolean
) from public;
