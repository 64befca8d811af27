-- Reverses whole entries, the largest that fit first, until the amount is reached; if the last one does not fit, what
-- is too much is taken again. Only what stays repays debt, so the debt waits until then. A lot that has expired in the
-- meantime comes back for the grace of a reversal. The caller has locked and settled the account.
create or replace function billing_private.restore_clawback(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_payment billing.billing_payments,
    p_amount  numeric,
    p_cause   text
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_grace interval := (select reversal_grace from billing.billing_settings);
    v_debt  numeric := p_account.debt::numeric;
    v_first bigint := 1 + (select max(grant_no) from billing.credit_grants where user_id = p_account.user_id);
    v_left  numeric := p_amount;
    v_entry record;
begin
    p_account.debt := 0;
    while v_left > 0 loop
        select c.entry_no, -c.amount as amount, l.priority, coalesce(l.from_grant_no, l.grant_no) as origin_no,
            case
                when l.expires_at <= p_now then (p_now at time zone 'UTC' + v_grace) at time zone 'UTC'
                else l.expires_at
            end as expires_at
        into v_entry
        from billing.credit_ledger c
        join billing.credit_grants l on l.user_id = c.user_id and l.grant_no = c.grant_no
        where c.user_id = p_account.user_id
            and l.user_id = p_account.user_id
            and c.type = 'clawback'
            and c.metadata ->> 'payment_intent_id' = p_payment.payment_intent_id
            and not exists (
                select from billing.credit_ledger r
                where r.user_id = p_account.user_id and r.reversed_entry_no = c.entry_no
            )
        order by
            -c.amount > v_left, case when -c.amount > v_left then -c.amount else c.amount end, c.entry_no desc
        limit 1;
        exit when not found;
        v_left := v_left - v_entry.amount;
        p_account := billing_private.book_grant(
            p_account, p_now, 'reversal', 'reversal',
            array[(null, v_entry.amount, v_entry.priority, v_entry.expires_at, v_entry.origin_no)]
                ::billing_private.lot[],
            'net_payment', null, 'payment_intent', p_payment.payment_intent_id,
            format('Given back: payment %s stays paid', p_payment.payment_intent_id), null, null, v_entry.entry_no
        );
    end loop;
    if v_left < 0 then
        p_account := billing_private.take_clawback(p_account, p_now, p_payment, -v_left, p_cause);
    end if;
    p_account.debt := v_debt;
    return billing_private.repay_debt(p_account, p_now, v_first, 'net_payment');
end
$$;

comment on function billing_private.restore_clawback is
    'Gives back what was taken from the lots of a payment; returns the account.';
revoke all on function billing_private.restore_clawback from public;
