-- In one statement, so that what was verified is what is noted, however much is spent meanwhile. An account with a finding
-- keeps the head that it had: it is found again until it is as it was.
create or replace function billing_private.verify_range(
    p_previous uuid,
    p_current  uuid,
    p_after    uuid,
    p_upto     uuid,
    p_now      timestamptz
)
returns table (findings bigint, accounts bigint, entries bigint, balance numeric)
language sql
volatile
as $$
    with
    found as materialized (
        select f.* from billing_private.range_findings(p_previous, p_after, p_upto) f
    ),
    told as (
        insert into billing.ledger_findings (
            finding_id, checkpoint_id, user_id, entry_no, problem, detail, found_at
        )
        select billing_private.time_ordered_id(p_now), p_current, user_id, entry_no, problem, detail, p_now
        from found
    ),
    seen as materialized (
        select user_id, entry_count, chain_head, balance::numeric as balance
        from billing.credit_accounts
        where user_id > p_after and user_id <= p_upto
    ),
    noted as (
        insert into billing.ledger_heads (user_id, checkpoint_id, entry_no, entry_hash)
        select s.user_id, p_current, s.entry_count, s.chain_head
        from seen s
        left join lateral (
            select entry_no from billing.ledger_heads
            where user_id = s.user_id and checkpoint_id <= p_previous
            order by checkpoint_id desc
            limit 1
        ) before on true
        where before.entry_no is distinct from s.entry_count
            and not exists (select from found f where f.user_id = s.user_id)
    )
    select
        (select count(*) from found), count(*), coalesce(sum(entry_count), 0)::bigint, coalesce(sum(balance), 0)
    from seen
$$;

comment on function billing_private.verify_range(uuid, uuid, uuid, uuid, timestamptz) is
    'Verifies the accounts of a range of ids, and notes what it found and their newest entries.';
revoke all on function billing_private.verify_range(uuid, uuid, uuid, uuid, timestamptz) from public;
