create or replace function billing_private.range_findings(p_checkpoint_id uuid, p_after uuid, p_upto uuid)
returns setof billing.finding
language sql
stable
as $$
    select f.*
    from billing_private.unverified_chains(p_after, p_upto) u (user_id)
    join billing.credit_accounts a on a.user_id = u.user_id
    cross join lateral billing_private.chain_findings(a) f
    union all
    select f.*
    from billing.credit_accounts a
    cross join lateral billing_private.sum_findings(a) f
    where a.user_id > p_after and a.user_id <= p_upto
    union all
    select e.user_id, min(e.entry_no), 'entries_without_account', format('%s entries.', count(*))
    from billing.credit_ledger e
    where e.user_id > p_after
        and e.user_id <= p_upto
        and not exists (select from billing.credit_accounts a where a.user_id = e.user_id)
    group by e.user_id
    union all
    select f.* from billing_private.head_findings(p_checkpoint_id, p_after, p_upto) f
$$;

comment on function billing_private.range_findings(uuid, uuid, uuid) is
    'What does not verify in the accounts of a range of ids, by themselves and against a checkpoint.';
revoke all on function billing_private.range_findings(uuid, uuid, uuid) from public;
