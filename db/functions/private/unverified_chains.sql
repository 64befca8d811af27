-- All entries of many accounts in one statement. It only says where to look: chain_findings says what is wrong there.
-- Account by account: of a range of uuids the planner expects one row, whatever it holds.
create or replace function billing_private.unverified_chains(p_after uuid, p_upto uuid)
returns setof uuid
language sql
stable
as $$
    select distinct on (a.user_id) a.user_id
    from billing.credit_accounts a
    left join lateral (
        select
            e.*, lag(e.entry_hash::bytea, 1, '\x') over w as previous_hash,
            lag(e.balance_after::numeric, 1, 0) over w as previous_balance,
            lag(e.used_after::numeric, 1, 0) over w as previous_used,
            lag(e.created_at, 1, '-infinity') over w as previous_time, row_number() over w as number,
            lead(e.entry_no) over w is null as is_last
        from billing.credit_ledger e
        where e.user_id = a.user_id
        window w as (order by e.entry_no)
    ) e on true
    where a.user_id > p_after
        and a.user_id <= p_upto
        and (
            e.entry_no is null and (a.entry_count, a.balance, a.used_total, a.chain_head) <> (0, 0, 0, '\x')
            or e.entry_no <> e.number
            or e.entry_hash <> billing_private.entry_hash(
                e.previous_hash, e.user_id, e.entry_no, e.created_at, e.type, e.amount, e.balance_after, e.used_after,
                e.operation, e.idempotency_key, e.reference_type, e.reference_id, e.description, e.metadata, e.actor,
                e.grant_no, e.reversed_entry_no
            )
            or e.balance_after <> e.previous_balance + e.amount
            or e.used_after <> e.previous_used
                + case when e.type in ('usage', 'adjustment') then greatest(-e.amount, 0) else 0 end
            or e.created_at < e.previous_time
            or e.is_last and (e.entry_no, e.entry_hash, e.balance_after, e.used_after)
                <> (a.entry_count, a.chain_head, a.balance, a.used_total)
        )
$$;

comment on function billing_private.unverified_chains(uuid, uuid) is
    'The accounts of a range of ids whose entries do not verify.';
revoke all on function billing_private.unverified_chains(uuid, uuid) from public;
