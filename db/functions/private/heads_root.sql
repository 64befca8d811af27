-- A hash over the heads that count at a checkpoint, in the order of their accounts, from the hash of those before.
create or replace function billing_private.heads_root(
    p_root          bytea,
    p_checkpoint_id uuid,
    p_after         uuid,
    p_upto          uuid
)
returns bytea
language plpgsql
stable
as $$
declare
    v_head record;
begin
    for v_head in
        select distinct on (user_id) user_id, entry_no, entry_hash
        from billing.ledger_heads
        where user_id > p_after and user_id <= p_upto and checkpoint_id <= p_checkpoint_id
        order by user_id, checkpoint_id desc
    loop
        p_root := sha256(p_root || uuid_send(v_head.user_id) || int8send(v_head.entry_no) || v_head.entry_hash);
    end loop;
    return p_root;
end
$$;

comment on function billing_private.heads_root(bytea, uuid, uuid, uuid) is
    'Carries the hash over the heads of a checkpoint on over a range of ids.';
revoke all on function billing_private.heads_root(bytea, uuid, uuid, uuid) from public;
