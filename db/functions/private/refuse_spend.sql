-- A refusal changes no balance and binds no key, and leaves an entry of 0 that says what was asked and why it was not
-- done.
create or replace function billing_private.refuse_spend(
    p_account         billing.credit_accounts,
    p_now             timestamptz,
    p_reason          text,
    p_asked           numeric,
    p_operation       text,
    p_idempotency_key text,
    p_reference_type  text,
    p_reference_id    text,
    p_description     text,
    p_metadata        jsonb
)
returns billing.credit_accounts
language plpgsql
as $$
begin
    return billing_private.append_entry(
        p_account, p_now, 'usage', 0, 0, p_operation, null, p_reference_type, p_reference_id, p_description,
        coalesce(p_metadata, '{}') || jsonb_strip_nulls(
            jsonb_build_object(
                'refused', p_reason, 'asked', p_asked, 'available', p_account.balance - p_account.held,
                'idempotency_key', p_idempotency_key
            )
        )
    );
end
$$;

comment on function billing_private.refuse_spend is 'Records a refused deduction or hold and returns the account.';
revoke all on function billing_private.refuse_spend from public;
