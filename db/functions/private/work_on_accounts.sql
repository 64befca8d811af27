-- One account at a time, in the order of their ids. What can go wrong with one account, its data or a lock that is not
-- to be had, is counted and told, and does not keep the others waiting.
create or replace function billing_private.work_on_accounts(p_work text, p_user_ids uuid[], p_through date)
returns billing.job_step
language plpgsql
as $$
declare
    v_step    billing.job_step := (0, 0, null, null)::billing.job_step;
    v_user_id uuid;
    v_done    boolean;
begin
    for v_user_id in select id from unnest(p_user_ids) id order by id loop
        begin
            v_done := case p_work
                when 'grant' then billing_private.grant_if_due(v_user_id, p_through)
                when 'settle' then billing_private.settle_if_due(v_user_id, p_through)
            end;
            v_step.rows := v_step.rows + v_done::integer;
        exception
            when sqlstate 'UC000' or data_exception or integrity_constraint_violation or lock_not_available
                or transaction_rollback
            then
                v_step.failures := v_step.failures + 1;
                v_step.error := left(concat_ws(E'\n', v_step.error, format('User %s: %s', v_user_id, sqlerrm)), 2000);
        end;
    end loop;
    return v_step;
end
$$;

comment on function billing_private.work_on_accounts(text, uuid[], date) is
    'Does the work of a job on accounts, one by one; returns what was done.';
revoke all on function billing_private.work_on_accounts(text, uuid[], date) from public;
