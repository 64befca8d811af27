-- One positive entry, and the lots it brings. Debt is repaid from them first; lots that were there are never taken.
-- The caller has locked and settled the account: the entry's number is its entry_count + 1.
-- Raises: UC422 amount_too_large when the balance would be absurd.
create or replace function billing_private.book_grant(
    p_account           billing.credit_accounts,
    p_now               timestamptz,
    p_type              text,
    p_source            text,
    p_lots              billing_private.lot[],
    p_operation         text,
    p_idempotency_key   text default null,
    p_reference_type    text default null,
    p_reference_id      text default null,
    p_description       text default null,
    p_metadata          jsonb default null,
    p_actor             uuid default null,
    p_reversed_entry_no bigint default null
)
returns billing.credit_accounts
language plpgsql
as $$
declare
    v_entry_no bigint := p_account.entry_count + 1;
    v_total    numeric := (select sum(amount) from unnest(p_lots));
    v_number   bigint;
    v_repaid   numeric;
    v_lot      billing_private.lot;
begin
    if (v_total <= 1000000000000 and p_account.balance + v_total <= 1000000000000000) is not true then
        perform billing_private.raise_error(
            'amount_too_large', format('%s more credits are too many for user %s.', v_total, p_account.user_id)
        );
    end if;
    p_account.next_expiry_at := least(p_account.next_expiry_at, (select min(expires_at) from unnest(p_lots)));
    p_account := billing_private.append_entry(
        p_account, p_now, p_type, v_total, 0, p_operation, p_idempotency_key, p_reference_type, p_reference_id,
        p_description, p_metadata, p_actor, null, p_reversed_entry_no
    );
    if p_type <> 'migration' then
        perform billing_private.emit_event(
            p_account.user_id, p_now, case p_type when 'purchase' then 'purchase.completed' else 'credits.granted' end,
            jsonb_build_object(
                'type', p_type, 'amount', trim_scale(v_total), 'balance', trim_scale(p_account.balance),
                'entry_no', v_entry_no, 'purchase_id', p_metadata -> 'purchase_id', 'reference_type', p_reference_type, 'reference_id', p_reference_id,
                'expires_at', (
                    select to_char(min(expires_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') from unnest(p_lots)
                )
            )
        );
    end if;
    v_number := (select max(grant_no) from billing.credit_grants where user_id = p_account.user_id);
    foreach v_lot in array p_lots loop
        v_number := coalesce(v_number, 0) + 1;
        insert into billing.credit_grants (
            user_id, grant_no, source, amount, remaining, priority, expires_at, granted_at, entry_no,
            reference_type, reference_id, from_grant_no
        )
        values (
            p_account.user_id, v_number, p_source, v_lot.amount, v_lot.amount, v_lot.priority, v_lot.expires_at, p_now,
            v_entry_no, p_reference_type, p_reference_id, v_lot.from_grant_no
        );
        v_repaid := least(v_lot.amount, p_account.debt);
        if v_repaid > 0 then
            p_account.debt := p_account.debt - v_repaid;
            p_account := billing_private.take_from_lot(
                p_account, p_now, 'debt_repayment', v_number, v_repaid, p_operation
            );
        end if;
    end loop;
    return p_account;
end
$$;

comment on function billing_private.book_grant is
    'Books a grant on a locked and settled account: entry, lots, repayment of debt; returns the account.';
revoke all on function billing_private.book_grant from public;
