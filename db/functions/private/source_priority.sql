-- What expires goes before what was paid for.
create or replace function billing_private.source_priority(p_source text)
returns integer
language sql
immutable
as $$
    select case
        when p_source in ('tier_grant', 'trial_grant') then 10
        when p_source = 'purchase' then 100
        else 50
    end
$$;

comment on function billing_private.source_priority(text) is 'The priority of a lot by its source; lower burns first.';
revoke all on function billing_private.source_priority(text) from public;
