-- Walks the entries by number and keeps what each should follow from; after a gap it goes on from the next entry.
create or replace function billing_private.chain_findings(p_account billing.credit_accounts)
returns setof billing.finding
language plpgsql
stable
as $$
declare
    v_entry    billing.credit_ledger;
    v_number   bigint := 0::bigint;
    v_hash     bytea := ''::bytea;
    v_balance  numeric := 0::numeric;
    v_used     numeric := 0::numeric;
    v_time     timestamptz := '-infinity'::timestamptz;
    v_problem  text;
    v_expected text;
begin
    for v_entry in
        select * from billing.credit_ledger where user_id = p_account.user_id order by entry_no
    loop
        if v_entry.entry_no <> v_number + 1 then
            return next (
                p_account.user_id, v_number + 1, 'entry_missing',
                format('Entry %s is followed by entry %s.', v_number, v_entry.entry_no)
            )::billing.finding;
        else
            v_expected := billing_private.entry_hash(
                v_hash, v_entry.user_id, v_entry.entry_no, v_entry.created_at, v_entry.type, v_entry.amount,
                v_entry.balance_after, v_entry.used_after, v_entry.operation, v_entry.idempotency_key,
                v_entry.reference_type, v_entry.reference_id, v_entry.description, v_entry.metadata, v_entry.actor,
                v_entry.grant_no, v_entry.reversed_entry_no
            )::text;
            v_problem := case
                when v_entry.entry_hash::text <> v_expected then 'entry_changed'
                when v_entry.balance_after <> v_balance + v_entry.amount then 'balance_after_off'
                when v_entry.used_after <> v_used + case
                    when v_entry.type in ('usage', 'adjustment') then greatest(-v_entry.amount, 0)
                    else 0
                end then 'used_after_off'
                when v_entry.created_at < v_time then 'time_runs_backwards'
            end;
            if v_problem is not null then
                return next (
                    p_account.user_id, v_entry.entry_no, v_problem,
                    format('%s of %s, balance after it %s.', v_entry.type, v_entry.amount, v_entry.balance_after)
                )::billing.finding;
            end if;
        end if;
        v_number := v_entry.entry_no;
        v_hash := v_entry.entry_hash;
        v_balance := v_entry.balance_after;
        v_used := v_entry.used_after;
        v_time := v_entry.created_at;
    end loop;
    if (v_number, v_hash, v_balance, v_used)
        is distinct from (p_account.entry_count, p_account.chain_head, p_account.balance, p_account.used_total)
    then
        return next (
            p_account.user_id, v_number, 'account_differs_from_ledger', format(
                'Account: %s entries, balance %s, used %s. Ledger: entry %s, balance %s, used %s.',
                p_account.entry_count, p_account.balance, p_account.used_total, v_number, v_balance, v_used
            )
        )::billing.finding;
    end if;
end
$$;

comment on function billing_private.chain_findings(billing.credit_accounts) is
    'What does not verify in the entries of an account.';
revoke all on function billing_private.chain_findings(billing.credit_accounts) from public;
