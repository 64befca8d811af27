-- Each row: user_id, or reference (what the application calls the user), and amount; reason, expires_at, and row_no, its line
-- in the file. A verdict per row in their order: grant; granted, under this name before, with the problem granted_otherwise
-- if it was another amount or expiry; refused, which may be otherwise later; or invalid, which the file must correct. The warning
-- granted_under_another_name tells of the same amount in the last 30 days. The last row's running_total and left_today
-- are those of the whole file. Writes nothing.
-- Raises: UC400 invalid_request, UC403 not_an_admin, UC422 too_many_rows.
create or replace function billing.plan_bulk_grant(
    p_actor      uuid,
    p_name       text,
    p_rows       jsonb,
    p_expires_at timestamptz default null
)
returns setof billing.bulk_verdict
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_name text := billing_private.bulk_name(p_name);
begin
    perform billing_private.check_bulk_rows(p_rows);
    if not billing_private.is_admin(p_actor) then
        perform billing_private.raise_error('not_an_admin', format(
            'User %s is no admin.', coalesce(p_actor::text, 'null')
        ));
    end if;
    return query
        select *
        from billing_private.bulk_verdicts(
            p_actor, (select bulk_id from billing.bulk_grants where lower(name) = lower(v_name)), p_rows, p_expires_at
        );
end
$$;

comment on function billing.plan_bulk_grant(uuid, text, jsonb, timestamptz) is
    'What a bulk grant of these rows would grant, refuse or find invalid; nothing happens.';
revoke all on function billing.plan_bulk_grant(uuid, text, jsonb, timestamptz) from public;
grant execute on function billing.plan_bulk_grant(uuid, text, jsonb, timestamptz) to billing_api;
