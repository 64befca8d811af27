-- p_month is any day of the calendar month (UTC); this one unless told.
-- Raises: UC400 invalid_request.
create or replace function billing.legacy_usage(p_user_id uuid, p_month date default null)
returns setof billing.legacy_usage
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
declare
    v_period date := date_trunc(
        'month', coalesce(p_month, billing_private.period_of(billing_private.clock()))::timestamp
    )::date;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    elsif (v_period between date '1970-01-01' and date '9999-01-01') is not true then
        perform billing_private.raise_error('invalid_request', format('p_month %s is out of range.', p_month));
    end if;
    return query select u.* from billing_private.usage_of_month(p_user_id, v_period) u;
end
$$;

comment on function billing.legacy_usage(uuid, date) is 'What a user has used in a month, by model, in US dollars.';
revoke all on function billing.legacy_usage(uuid, date) from public;
grant execute on function billing.legacy_usage(uuid, date) to billing_api;
