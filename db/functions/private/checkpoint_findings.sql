-- p_root is what the heads of the newest checkpoint hash to; p_checkpoint_id is that checkpoint.
create or replace function billing_private.checkpoint_findings(p_checkpoint_id uuid, p_root bytea)
returns setof billing.finding
language plpgsql
stable
as $$
declare
    v_previous   bytea := ''::bytea;
    v_checkpoint billing.ledger_checkpoints;
begin
    for v_checkpoint in select * from billing.ledger_checkpoints order by checkpoint_id loop
        if v_checkpoint.checkpoint_hash <> billing_private.checkpoint_hash(v_previous, v_checkpoint) then
            return next (null, null, 'checkpoint_changed', format(
                'Checkpoint %s of %s is not what was written, or one before it is gone.', v_checkpoint.checkpoint_id,
                v_checkpoint.finished_at at time zone 'UTC'
            ))::billing.finding;
        end if;
        v_previous := v_checkpoint.checkpoint_hash;
    end loop;
    if v_checkpoint.checkpoint_id = p_checkpoint_id and v_checkpoint.heads_root <> p_root then
        return next (null, null, 'heads_changed', format(
            'What checkpoint %s noted of the accounts hashes to %s; it was %s.', p_checkpoint_id,
            encode(p_root, 'hex'), encode(v_checkpoint.heads_root, 'hex')
        ))::billing.finding;
    end if;
end
$$;

comment on function billing_private.checkpoint_findings(uuid, bytea) is
    'What does not verify in the checkpoints themselves.';
revoke all on function billing_private.checkpoint_findings(uuid, bytea) from public;
