-- Tests move time by replacing this function in their own database; no setting does.
create or replace function billing_private.clock()
returns timestamptz
language sql
volatile
as $$
    select pg_catalog.clock_timestamp()
$$;

comment on function billing_private.clock() is 'The time that every function of billing goes by.';
revoke all on function billing_private.clock() from public;
