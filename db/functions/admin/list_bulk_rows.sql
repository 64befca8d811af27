-- In the order of the file; page on with p_after = the last user_id. p_outcome: pending, granted or refused.
-- Raises: UC400 invalid_request, UC404 bulk_grant_not_found, UC422 limit_out_of_range.
create or replace function billing.list_bulk_rows(
    p_bulk_id uuid,
    p_outcome text default null,
    p_after   uuid default null,
    p_limit   integer default 50
)
returns setof billing.bulk_row
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_after integer;
begin
    perform billing_private.check_limit(p_limit);
    if p_outcome is not null and p_outcome not in ('pending', 'granted', 'refused') then
        perform billing_private.raise_error('invalid_request', format('p_outcome is %L.', p_outcome));
    elsif not exists (select from billing.bulk_grants where bulk_id = p_bulk_id) then
        perform billing_private.raise_no_bulk_grant(p_bulk_id);
    end if;
    select row_no into v_after from billing.bulk_grant_rows where bulk_id = p_bulk_id and user_id = p_after;
    return query
        select
            b.row_no, b.user_id, u.reference::text, b.amount, b.reason, b.expires_at, b.outcome, b.refusal, b.entry_no,
            b.action_id, b.decided_by, b.decided_at
        from billing.bulk_grant_rows b
        left join billing.user_references u on u.user_id = b.user_id
        where b.bulk_id = p_bulk_id
            and (p_outcome is null or b.outcome = p_outcome)
            and (p_after is null or (b.row_no, b.user_id) > (v_after, p_after))
        order by b.row_no, b.user_id
        limit p_limit;
end
$$;

comment on function billing.list_bulk_rows(uuid, text, uuid, integer) is
    'The rows of a bulk grant and what became of them, in the order of the file.';
revoke all on function billing.list_bulk_rows(uuid, text, uuid, integer) from public;
grant execute on function billing.list_bulk_rows(uuid, text, uuid, integer) to billing_api;
