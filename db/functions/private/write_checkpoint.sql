-- What earlier verifications found and this one did not is over; but a checkpoint that was tampered with stays on the list
-- until somebody has looked into it and deletes it there.
create or replace function billing_private.write_checkpoint(p_state jsonb, p_now timestamptz)
returns void
language plpgsql
as $$
declare
    v_previous   uuid := (p_state ->> 'previous')::uuid;
    v_finding    billing.finding;
    v_checkpoint billing.ledger_checkpoints;
begin
    v_checkpoint.checkpoint_id := (p_state ->> 'current')::uuid;
    v_checkpoint.started_at := (p_state ->> 'started_at')::timestamptz;
    v_checkpoint.finished_at := greatest(p_now, v_checkpoint.started_at);
    v_checkpoint.accounts := (p_state ->> 'accounts')::bigint;
    v_checkpoint.entries := (p_state ->> 'entries')::bigint;
    v_checkpoint.balance := (p_state ->> 'balance')::numeric;
    v_checkpoint.findings := (p_state ->> 'findings')::bigint;
    -- Without an account there is nothing to hash.
    v_checkpoint.heads_root := case p_state ->> 'root'
        when '' then sha256('') else decode(p_state ->> 'root', 'hex')
    end;
    for v_finding in
        select * from billing_private.checkpoint_findings(
            v_previous,
            case p_state ->> 'root_before' when '' then sha256('') else decode(p_state ->> 'root_before', 'hex') end
        )
    loop
        v_checkpoint.findings := v_checkpoint.findings + 1;
        delete from billing.ledger_findings where problem = v_finding.problem and detail = v_finding.detail;
        insert into billing.ledger_findings (finding_id, checkpoint_id, problem, detail, found_at)
        values (
            billing_private.time_ordered_id(p_now), v_checkpoint.checkpoint_id, v_finding.problem, v_finding.detail,
            p_now
        );
    end loop;
    v_checkpoint.checkpoint_hash := billing_private.checkpoint_hash(
        coalesce(
            (select checkpoint_hash::bytea from billing.ledger_checkpoints order by checkpoint_id desc limit 1), ''
        ),
        v_checkpoint
    );
    insert into billing.ledger_checkpoints select v_checkpoint.*;
    delete from billing.ledger_findings
    where checkpoint_id <> v_checkpoint.checkpoint_id and problem not in ('checkpoint_changed', 'heads_changed');
end
$$;

comment on function billing_private.write_checkpoint(jsonb, timestamptz) is
    'Writes the checkpoint of a verification that has reached the last account.';
revoke all on function billing_private.write_checkpoint(jsonb, timestamptz) from public;
