create or replace function billing_private.period_of(p_at timestamptz)
returns date
language sql
immutable
as $$
    select pg_catalog.date_trunc('month', p_at at time zone 'UTC')::date
$$;

comment on function billing_private.period_of(timestamptz) is 'The first day of the UTC calendar month of a time.';
revoke all on function billing_private.period_of(timestamptz) from public;
