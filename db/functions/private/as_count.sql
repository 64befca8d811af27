-- Metadata is the application's: what is no whole number there, or an absurd one whose sum could be none, is nothing.
create or replace function billing_private.as_count(p_value jsonb)
returns bigint
language sql
immutable
as $$
    select case
        when pg_catalog.jsonb_typeof(p_value) = 'number' and p_value::text ~ '^[0-9]{1,13}$' then p_value::bigint
        else 0
    end
$$;

comment on function billing_private.as_count(jsonb) is 'A count from an entry''s metadata; 0 when it is none.';
revoke all on function billing_private.as_count(jsonb) from public;
