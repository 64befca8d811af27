-- Told when it changes, also where an account was closed in between. The caller holds the lock of the account.
create or replace function billing_private.tell_status(
    p_account billing.credit_accounts,
    p_now     timestamptz,
    p_before  text
)
returns void
language plpgsql
as $$
declare
    v_told text;
    v_kind text;
begin
    if p_account.status = p_before then
        return;
    end if;
    select kind into v_told
    from billing.billing_events
    where user_id = p_account.user_id and kind in ('account.frozen', 'account.unfrozen')
    order by event_no desc
    limit 1;
    v_kind := case
        when p_account.status = 'frozen' and v_told is distinct from 'account.frozen' then 'account.frozen'
        when p_account.status = 'active' and 'account.frozen' in (v_told, 'account.' || p_before) then 'account.unfrozen'
    end;
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
