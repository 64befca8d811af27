-- One batch: a range of accounts is verified, entry by entry, sum by sum, and against the checkpoint before; the last batch
-- writes the checkpoint. What was found is in billing.ledger_findings, and alert_ledger and alert_lot_sums show it: not
-- a failure of the job. Without p_after a verification begins, and another one that is under way ends.
-- Locks:  how far it has come, until commit; no account.
-- Raises: UC400 invalid_request (p_after is not where the verification is), UC422 time_lies_ahead, limit_out_of_range.
create or replace function billing.checkpoint_ledger(
    p_at    timestamptz default null,
    p_limit integer default 100,
    p_after jsonb default null
)
returns billing.job_step
language plpgsql
security definer
set search_path = pg_temp
-- Compiling a batch takes longer than running it.
set jit = off
as $$
declare
    v_now      timestamptz := billing_private.clock();
    v_state    jsonb;
    v_previous uuid;
    v_current  uuid;
    v_after    uuid;
    v_upto     uuid;
    v_sums     record;
begin
    perform billing_private.check_limit(p_limit);
    v_state := billing_private.verification_state(billing_private.job_time(coalesce(p_at, v_now)), p_after);
    v_previous := (v_state ->> 'previous')::uuid;
    v_current := (v_state ->> 'current')::uuid;
    v_after := (v_state ->> 'after')::uuid;
    v_upto := coalesce(
        (
            select user_id from billing.credit_accounts where user_id > v_after
            order by user_id
            offset p_limit - 1
            limit 1
        ),
        'ffffffff-ffff-ffff-ffff-ffffffffffff'
    );
    select * into v_sums
    from billing_private.verify_range(v_previous, v_current, v_after, v_upto, v_now);
    v_state := v_state || jsonb_build_object(
        'after', v_upto,
        'findings', (v_state ->> 'findings')::bigint + v_sums.findings,
        'accounts', (v_state ->> 'accounts')::bigint + v_sums.accounts,
        'entries', (v_state ->> 'entries')::bigint + v_sums.entries,
        'balance', (v_state ->> 'balance')::numeric + v_sums.balance,
        'root_before', encode(
            billing_private.heads_root(decode(v_state ->> 'root_before', 'hex'), v_previous, v_after, v_upto), 'hex'
        ),
        'root', encode(
            billing_private.heads_root(decode(v_state ->> 'root', 'hex'), v_current, v_after, v_upto), 'hex'
        )
    );
    if v_upto = 'ffffffff-ffff-ffff-ffff-ffffffffffff' then
        perform billing_private.write_checkpoint(v_state, v_now);
        delete from billing_private.verification;
        return (v_sums.accounts, 0, null, null)::billing.job_step;
    end if;
    update billing_private.verification set state = v_state;
    return (v_sums.accounts, 0, null, jsonb_build_object('current', v_current, 'after', v_upto))::billing.job_step;
end
$$;

comment on function billing.checkpoint_ledger(timestamptz, integer, jsonb) is
    'Verifies a batch of accounts, and writes a checkpoint of the ledger after the last one.';
revoke all on function billing.checkpoint_ledger(timestamptz, integer, jsonb) from public;
grant execute on function billing.checkpoint_ledger(timestamptz, integer, jsonb) to billing_api;
