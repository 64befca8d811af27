-- Raises: UC422 limit_out_of_range.
create or replace function billing.list_checkpoints(p_before uuid default null, p_limit integer default 50)
returns setof billing.checkpoint
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    perform billing_private.check_limit(p_limit);
    return query
        select
            c.checkpoint_id, c.started_at, c.finished_at, c.accounts, c.entries, c.balance, c.findings,
            encode(c.checkpoint_hash, 'hex')
        from billing.ledger_checkpoints c
        where p_before is null or c.checkpoint_id < p_before
        order by c.checkpoint_id desc
        limit p_limit;
end
$$;

comment on function billing.list_checkpoints(uuid, integer) is 'Checkpoints of the ledger, newest first, page by page.';
revoke all on function billing.list_checkpoints(uuid, integer) from public;
grant execute on function billing.list_checkpoints(uuid, integer) to billing_api, billing_monitor;
