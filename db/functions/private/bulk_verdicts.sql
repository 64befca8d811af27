-- In the order of the file, as a run would find it at this moment; p_bulk_id is null for a name that is free.
create or replace function billing_private.bulk_verdicts(
    p_actor      uuid,
    p_bulk_id    uuid,
    p_rows       jsonb,
    p_expires_at timestamptz
)
returns setof billing.bulk_verdict
language plpgsql
stable
as $$
declare
    v_now     timestamptz := billing_private.clock();
    v_admin   billing.admin := billing.get_admin(p_actor);
    v_row     record;
    v_verdict billing.bulk_verdict;
begin
    v_verdict.running_total := 0;
    v_verdict.left_today := v_admin.left_today;
    for v_row in select * from billing_private.bulk_candidates(p_bulk_id, p_rows, p_expires_at, v_now) loop
        v_verdict.row_no := v_row.row_no;
        v_verdict.user_id := v_row.user_id;
        v_verdict.reference := v_row.reference;
        v_verdict.amount := v_row.amount;
        v_verdict.reason := v_row.reason;
        v_verdict.expires_at := v_row.expires_at;
        v_verdict.warning := null;
        v_verdict.other_name := null;
        v_verdict.problem := case
            when not v_row.well_formed then 'invalid_request'
            when v_row.users = 0 then 'unknown_reference'
            when v_row.users > 1 then 'ambiguous_reference'
            when v_row.times > 1 then 'duplicate_user'
            else billing_private.amount_problem(v_row.amount)
        end;
        v_verdict.verdict := case
            when v_verdict.problem is not null then 'invalid'
            when v_row.granted_amount is not null then 'granted'
        end;
        if v_verdict.verdict = 'granted'
            and (v_row.granted_amount, v_row.granted_expiry) is distinct from (v_row.amount, v_row.expires_at)
        then
            v_verdict.problem := 'granted_otherwise';
        elsif v_verdict.verdict is null and (v_row.expires_at > v_now and isfinite(v_row.expires_at)) is false then
            v_verdict.verdict := 'invalid';
            v_verdict.problem := 'expiry_not_ahead';
        elsif v_verdict.verdict is null then
            v_verdict.problem := coalesce(
                billing_private.bulk_account_problem(v_row.user_id, v_row.status),
                billing_private.bulk_limit_problem(p_actor, v_admin, v_row.user_id, v_row.amount, v_verdict.left_today)
            );
            v_verdict.verdict := case when v_verdict.problem is null then 'grant' else 'refused' end;
            if v_row.other_name is not null then
                v_verdict.warning := 'granted_under_another_name';
                v_verdict.other_name := v_row.other_name;
            end if;
        end if;
        if v_verdict.verdict = 'grant' then
            v_verdict.running_total := v_verdict.running_total + v_row.amount;
            v_verdict.left_today := v_verdict.left_today - v_row.amount;
        end if;
        return next v_verdict;
    end loop;
end
$$;

comment on function billing_private.bulk_verdicts(uuid, uuid, jsonb, timestamptz) is
    'What would become of each row of a file.';
revoke all on function billing_private.bulk_verdicts(uuid, uuid, jsonb, timestamptz) from public;
