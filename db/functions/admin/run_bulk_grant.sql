-- One batch: the next rows of the file, each granted or refused as billing.admin_grant_credits would, and logged so; a
-- refused row keeps the name as its refusal, and does not hold up the others. Whoever runs it does so under their own limits.
-- Call it until nothing is pending: what is committed is never granted again, whoever calls how often.
-- Locks:   the bulk grant, the accounts of the batch in the order of their user_id, then the admin's row, until commit.
-- Answers: not_an_admin: success = false, and it is logged, under the nil uuid.
-- Raises:  UC400 invalid_request, UC404 bulk_grant_not_found, UC422 limit_out_of_range.
create or replace function billing.run_bulk_grant(p_actor uuid, p_bulk_id uuid, p_limit integer default 100)
returns billing.bulk_run
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_bulk billing.bulk_grants;
    v_rows billing.bulk_grant_rows[];
    v_row  billing.bulk_grant_rows;
    v_run  billing.bulk_run;
begin
    perform billing_private.check_admin_request(p_actor, 'run');
    perform billing_private.check_limit(p_limit);
    v_bulk := billing_private.lock_bulk_grant(p_bulk_id);
    v_rows := array(
        select r
        from billing.bulk_grant_rows r
        where r.bulk_id = p_bulk_id and r.outcome = 'pending'
        order by r.row_no, r.user_id
        limit p_limit
    );
    for v_row in select * from unnest(v_rows) r order by r.user_id loop
        perform from billing.credit_accounts where user_id = v_row.user_id for no key update;
    end loop;
    v_run.reason := billing_private.authorize_admin(p_actor, null, 0, billing_private.clock());
    v_run.success := v_run.reason is null;
    v_run.bulk_id := p_bulk_id;
    v_run.granted := 0;
    v_run.refused := 0;
    v_run.amount := 0;
    if v_run.success then
        foreach v_row in array v_rows loop
            if billing_private.grant_bulk_row(p_actor, v_row) then
                v_run.granted := v_run.granted + 1;
                v_run.amount := v_run.amount + v_row.amount;
            else
                v_run.refused := v_run.refused + 1;
            end if;
        end loop;
        v_run.left_today := (billing.get_admin(p_actor)).left_today;
    else
        perform billing_private.log_bulk_grant(
            p_actor, 'run_bulk_grant', p_bulk_id, v_bulk.name, v_bulk.reason, v_run.reason, '{}'
        );
    end if;
    v_run.pending := billing_private.bulk_pending(p_bulk_id);
    return v_run;
end
$$;

comment on function billing.run_bulk_grant(uuid, uuid, integer) is
    'Grants the next rows of a bulk grant in one transaction, each within the limits of the admin.';
revoke all on function billing.run_bulk_grant(uuid, uuid, integer) from public;
grant execute on function billing.run_bulk_grant(uuid, uuid, integer) to billing_api;
