-- Against what the checkpoint before noted: an entry that was rewritten together with its chain is found here.
create or replace function billing_private.head_findings(p_checkpoint_id uuid, p_after uuid, p_upto uuid)
returns setof billing.finding
language sql
stable
as $$
    select
        h.user_id, h.entry_no,
        case when a.user_id is null then 'account_missing' else 'entry_differs_from_checkpoint' end,
        format('The checkpoint knows entry %s as %s; it is %s.', h.entry_no, encode(h.entry_hash, 'hex'),
            coalesce(encode(e.entry_hash, 'hex'), 'not there'))
    from (
        select distinct on (user_id) user_id, entry_no, entry_hash
        from billing.ledger_heads
        where user_id > p_after and user_id <= p_upto and checkpoint_id <= p_checkpoint_id
        order by user_id, checkpoint_id desc
    ) h
    left join billing.credit_accounts a on a.user_id = h.user_id
    left join billing.credit_ledger e on e.user_id = h.user_id and e.entry_no = h.entry_no
    where a.user_id is null or h.entry_no > 0 and e.entry_hash is distinct from h.entry_hash
$$;

comment on function billing_private.head_findings(uuid, uuid, uuid) is
    'What differs from a checkpoint in the accounts of a range of ids.';
revoke all on function billing_private.head_findings(uuid, uuid, uuid) from public;
