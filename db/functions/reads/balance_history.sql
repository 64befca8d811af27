-- Points at equal distances, both ends among them, each as balance_at tells it. Each costs the same on the largest
-- account.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.balance_history(
    p_user_id uuid,
    p_from    timestamptz,
    p_to      timestamptz,
    p_points  integer default 60
)
returns setof billing.balance_point
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_seconds numeric;
    v_at      timestamptz;
begin
    if (p_from < p_to and isfinite(p_from) and isfinite(p_to)) is not true then
        perform billing_private.raise_error('invalid_request', 'p_from must be before p_to, and both finite.');
    elsif (p_points between 2 and 500) is not true then
        perform billing_private.raise_error('invalid_request', 'p_points must be 2 to 500.');
    end if;
    v_seconds := extract(epoch from p_to) - extract(epoch from p_from);
    for v_point in 0 .. p_points - 1 loop
        v_at := case
            when v_point = p_points - 1 then p_to
            -- In seconds: a day is not always 24 hours in the time zone of a session.
            else p_from + make_interval(secs => v_seconds * v_point / (p_points - 1))
        end;
        return next (v_at, billing.balance_at(p_user_id, v_at))::billing.balance_point;
    end loop;
end
$$;

comment on function billing.balance_history(uuid, timestamptz, timestamptz, integer) is
    'The balance of an account over time, at as many points as a chart needs.';
revoke all on function billing.balance_history(uuid, timestamptz, timestamptz, integer) from public;
grant execute on function billing.balance_history(uuid, timestamptz, timestamptz, integer) to billing_api;
