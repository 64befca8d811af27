-- Rows as of billing.plan_bulk_grant; p_reason and p_expires_at are for rows without their own. Nothing is granted yet:
-- billing.run_bulk_grant does that. A name that exists goes on: granted rows stay as they are, all others of the file
-- wait for the next run as the file has them, new ones are added; granted_otherwise counts the rows whose user was
-- granted another amount or expiry before, which stays. What waits and is not in the file keeps waiting, unless
-- p_withdraw_others.
-- Locks:   the bulk grant, until commit.
-- Replay:  the same rows again change nothing.
-- Answers: not_an_admin: success = false, and it is logged, under the nil uuid.
-- Raises:  UC400 invalid_request, UC422 invalid_rows, reason_required, too_many_rows.
create or replace function billing.begin_bulk_grant(
    p_actor           uuid,
    p_name            text,
    p_rows            jsonb,
    p_reason          text,
    p_expires_at      timestamptz default null,
    p_withdraw_others boolean default false
)
returns billing.bulk_change
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_name     text := billing_private.bulk_name(p_name);
    v_now      timestamptz := billing_private.clock();
    v_bulk     billing.bulk_grants;
    v_verdicts billing.bulk_verdict[];
    v_change   billing.bulk_change;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_bulk_rows(p_rows);
    v_change.success := billing_private.is_admin(p_actor);
    v_change.name := v_name;
    if not v_change.success then
        v_change.reason := 'not_an_admin';
        v_change.action_id := billing_private.log_bulk_grant(
            p_actor, 'begin_bulk_grant', null, v_name, p_reason, 'not_an_admin',
            jsonb_build_object('rows', jsonb_array_length(p_rows))
        );
        return v_change;
    end if;
    insert into billing.bulk_grants (bulk_id, name, reason, created_by, created_at)
    values (billing_private.time_ordered_id(v_now), v_name, p_reason, p_actor, v_now)
    on conflict do nothing;
    select * into v_bulk from billing.bulk_grants where lower(name) = lower(v_name) for no key update;
    v_verdicts := array(select v from billing_private.bulk_verdicts(p_actor, v_bulk.bulk_id, p_rows, p_expires_at) v);
    perform billing_private.check_verdicts(v_verdicts);
    v_change := billing_private.store_bulk_rows(v_bulk, v_verdicts, p_actor, p_reason, p_withdraw_others);
    v_change.action_id := billing_private.log_bulk_grant(
        p_actor, 'begin_bulk_grant', v_bulk.bulk_id, v_bulk.name, p_reason, 'done',
        jsonb_build_object(
            'rows', jsonb_array_length(p_rows), 'added', v_change.added, 'changed', v_change.changed,
            'unchanged', v_change.unchanged, 'granted_otherwise', nullif(v_change.granted_otherwise, 0),
            'withdrawn', v_change.withdrawn
        )
    );
    return v_change;
end
$$;

comment on function billing.begin_bulk_grant(uuid, text, jsonb, text, timestamptz, boolean) is
    'Stores what is to be granted to many users, or goes on with a bulk grant of this name.';
revoke all on function billing.begin_bulk_grant(uuid, text, jsonb, text, timestamptz, boolean) from public;
grant execute on function billing.begin_bulk_grant(uuid, text, jsonb, text, timestamptz, boolean) to billing_api;
