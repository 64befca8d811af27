create or replace function billing_private.clawed_from(p_user_id uuid, p_payment_intent_id text)
returns numeric
language plpgsql
stable
as $$
begin
    return (
        select coalesce(sum(-c.amount), 0)
        from billing.credit_ledger c
        where c.user_id = p_user_id
            and c.type = 'clawback'
            and c.metadata ->> 'payment_intent_id' = p_payment_intent_id
            and not exists (
                select from billing.credit_ledger r
                where r.user_id = p_user_id and r.reversed_entry_no = c.entry_no
            )
    );
end
$$;

comment on function billing_private.clawed_from(uuid, text) is
    'Credits that were taken from the lots of a payment and not given back.';
revoke all on function billing_private.clawed_from(uuid, text) from public;
