-- For applications: trials, promotions, goodwill. Tier grants, purchases and migrations have functions of their own.
-- Locks:  the account row, until commit.
-- Replay: the same key, amount, source and reference returns the first entry with replayed = true.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 account_closed, idempotency_key_reused, not_migrated,
--         UC422 amount_not_positive, amount_too_precise, amount_too_large, expiry_not_ahead, unknown_source.
create or replace function billing.grant_credits(
    p_user_id         uuid,
    p_amount          numeric,
    p_source          text,
    p_description     text default null,
    p_expires_at      timestamptz default null,
    p_priority        integer default null,
    p_reference_type  text default null,
    p_reference_id    text default null,
    p_idempotency_key text default null,
    p_metadata        jsonb default null
)
returns billing.granted_entry
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_type     text := case p_source when 'promotion' then 'adjustment' else p_source end;
    v_priority integer := coalesce(p_priority, billing_private.source_priority(p_source));
    v_account  billing.credit_accounts;
    v_entry    billing.credit_ledger;
    v_now      timestamptz;
    v_entry_no bigint;
    v_source   text;
begin
    perform billing_private.check_amount(p_amount);
    perform billing_private.check_texts(
        p_description, p_reference_type, p_reference_id, p_idempotency_key, p_metadata
    );
    if (p_source in ('trial_grant', 'promotion', 'adjustment', 'refund')) is not true then
        perform billing_private.raise_error('unknown_source', format('Source %L is not one of them.', p_source));
    elsif (v_priority between 0 and 1000) is not true then
        perform billing_private.raise_error('invalid_request', 'p_priority must be 0 to 1000.');
    end if;

    v_account := billing_private.lock_account(p_user_id);
    v_now := greatest(billing_private.clock(), v_account.updated_at);
    select * into v_entry
    from billing.credit_ledger
    where user_id = p_user_id and operation = 'grant_credits' and idempotency_key = p_idempotency_key;
    if found then
        select source into v_source
        from billing.credit_grants
        where user_id = p_user_id and entry_no = v_entry.entry_no;
        if (v_entry.amount, v_source, v_entry.reference_type, v_entry.reference_id)
            is distinct from (p_amount, p_source, p_reference_type, p_reference_id)
        then
            perform billing_private.raise_key_reused(v_entry);
        end if;
        return billing_private.as_granted_entry(
            v_entry, billing_private.settled_account(v_account, v_now), true
        );
    end if;

    if v_account.status = 'closed' then
        perform billing_private.raise_error('account_closed', format('The account of user %s is closed.', p_user_id));
    elsif p_expires_at <= v_now or not isfinite(p_expires_at) then
        perform billing_private.raise_error(
            'expiry_not_ahead', format('It is %s; p_expires_at is %s.', v_now, p_expires_at)
        );
    end if;
    v_account := billing_private.settle_account(v_account, v_now);
    v_entry_no := v_account.entry_count + 1;
    v_account := billing_private.book_grant(
        v_account, v_now, v_type, p_source,
        array[(null, p_amount, v_priority, p_expires_at, null)]::billing_private.lot[],
        'grant_credits', p_idempotency_key, p_reference_type, p_reference_id, p_description,
        p_metadata
    );
    select * into v_entry from billing.credit_ledger where user_id = p_user_id and entry_no = v_entry_no;
    return billing_private.as_granted_entry(v_entry, v_account, false);
end
$$;

comment on function billing.grant_credits is
    'Adds credits to an account as a lot, with a priority and an optional expiry.';
revoke all on function billing.grant_credits from public;
grant execute on function billing.grant_credits to billing_api;
