create or replace function billing_private.checkpoint_hash(p_previous bytea, p_checkpoint billing.ledger_checkpoints)
returns bytea
language sql
stable
as $$
    select pg_catalog.sha256(
        p_previous || pg_catalog.convert_to(
            pg_catalog.jsonb_build_array(
                p_checkpoint.checkpoint_id, p_checkpoint.started_at at time zone 'UTC',
                p_checkpoint.finished_at at time zone 'UTC', p_checkpoint.accounts, p_checkpoint.entries,
                pg_catalog.trim_scale(p_checkpoint.balance), pg_catalog.encode(p_checkpoint.heads_root, 'hex'),
                p_checkpoint.findings
            )::text,
            'UTF8'
        )
    )
$$;

comment on function billing_private.checkpoint_hash(bytea, billing.ledger_checkpoints) is
    'The hash of a checkpoint, chained to the hash of the one before.';
revoke all on function billing_private.checkpoint_hash(bytea, billing.ledger_checkpoints) from public;
