create or replace function billing_private.tell_status(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_before  text
)
returns void
language plpgsql
as $$
declare
    v_kind text := case
        when p_account.status = 'frozen' and p_before <> 'frozen' then 'account.frozen'
        when p_account.status = 'active' and p_before = 'frozen' then 'account.unfrozen'
    end;
begin
    if v_kind is not null then
        perform billing_private.emit_event(p_account.user_id, p_now, v_kind, jsonb_build_object(
            'causes', (
                select jsonb_agg(distinct cause order by cause)
                from billing.account_freezes
                where user_id = p_account.user_id
            )
        ));
    end if;
end
$$;

comment on function billing_private.tell_status(billing.credit_accounts, timestamptz, text) is
    'Records the event of an account that was frozen or unfrozen.';
revoke all on function billing_private.tell_status(billing.credit_accounts, timestamptz, text) from public;
