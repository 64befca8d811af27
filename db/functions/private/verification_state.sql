-- What a verification that was cut off has noted is taken back: it never counted. The state is kept here, not with the
-- caller, who could tell anything.
-- Locks:  the state, until commit.
-- Raises: UC400 invalid_request.
create or replace function billing_private.verification_state(p_at timestamptz, p_after jsonb)
returns jsonb
language plpgsql
as $$
declare
    v_previous   uuid;
    v_started_at timestamptz;
    v_state      jsonb;
begin
    if p_after is not null then
        select state into v_state
        from billing_private.verification
        where state ->> 'current' = p_after ->> 'current' and state ->> 'after' = p_after ->> 'after'
        for no key update;
        if not found then
            perform billing_private.raise_error(
                'invalid_request', 'p_after is not where the verification is: another one has begun since.'
            );
        end if;
        return v_state;
    end if;
    lock table billing_private.verification in share row exclusive mode;
    select checkpoint_id, greatest(p_at, started_at + interval '1 millisecond') into v_previous, v_started_at
    from billing.ledger_checkpoints
    order by checkpoint_id desc
    limit 1;
    -- In the order of their ids, whatever the clock does.
    v_started_at := coalesce(v_started_at, p_at);
    v_previous := coalesce(v_previous, '00000000-0000-0000-0000-000000000000');
    v_state := jsonb_build_object(
        'previous', v_previous,
        'current', billing_private.time_ordered_id(v_started_at),
        'started_at', v_started_at,
        'after', '00000000-0000-0000-0000-000000000000',
        'findings', 0, 'accounts', 0, 'entries', 0, 'balance', 0, 'root_before', '', 'root', ''
    );
    delete from billing_private.verification;
    insert into billing_private.verification (state) values (v_state);
    delete from billing.ledger_heads where checkpoint_id > v_previous;
    return v_state;
end
$$;

comment on function billing_private.verification_state(timestamptz, jsonb) is
    'Where the verification of the ledger is, or where one begins.';
revoke all on function billing_private.verification_state(timestamptz, jsonb) from public;
