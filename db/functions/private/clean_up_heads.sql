create or replace function billing_private.clean_up_heads(p_limit integer, p_after jsonb)
returns billing.job_step
language plpgsql
as $$
declare
    v_step  billing.job_step := (0, 0, null, null)::billing.job_step;
    v_first uuid := coalesce((p_after ->> 'user_id')::uuid, '00000000-0000-0000-0000-000000000000');
    v_last  uuid;
begin
    -- Users, not rows: all rows of a user are looked at together.
    select p.user_id into v_last
    from (
        select distinct user_id from billing.ledger_heads where user_id > v_first order by user_id limit p_limit
    ) p
    order by p.user_id desc
    limit 1;
    delete from billing.ledger_heads h
    where h.user_id > v_first
        and h.user_id <= v_last
        and exists (
            select from billing.ledger_heads n
            join billing.ledger_checkpoints c on c.checkpoint_id = n.checkpoint_id
            where n.user_id = h.user_id and n.checkpoint_id > h.checkpoint_id
        );
    get diagnostics v_step.rows = row_count;
    if v_last is not null then
        v_step.next := jsonb_build_object('user_id', v_last);
    end if;
    return v_step;
end
$$;

comment on function billing_private.clean_up_heads(integer, jsonb) is
    'Deletes what checkpoints noted of a page of accounts and a newer one has replaced; returns what was done.';
revoke all on function billing_private.clean_up_heads(integer, jsonb) from public;
