-- What a verification that was cut off has noted is taken back: it never counted.
create or replace function billing_private.first_range(p_at timestamptz)
returns jsonb
language plpgsql
as $$
declare
    v_previous   uuid;
    v_started_at timestamptz;
begin
    select checkpoint_id, greatest(p_at, started_at + interval '1 millisecond') into v_previous, v_started_at
    from billing.ledger_checkpoints
    order by checkpoint_id desc
    limit 1;
    -- In the order of their ids, whatever the clock does.
    v_started_at := coalesce(v_started_at, p_at);
    v_previous := coalesce(v_previous, '00000000-0000-0000-0000-000000000000');
    delete from billing.ledger_heads where checkpoint_id > v_previous;
    return jsonb_build_object(
        'previous', v_previous,
        'current', billing_private.time_ordered_id(v_started_at),
        'started_at', v_started_at,
        'after', '00000000-0000-0000-0000-000000000000',
        'findings', 0, 'accounts', 0, 'entries', 0, 'balance', 0, 'root_before', '', 'root', ''
    );
end
$$;

comment on function billing_private.first_range(timestamptz) is 'Where a verification of the ledger begins.';
revoke all on function billing_private.first_range(timestamptz) from public;
