create or replace function billing_private.config_content(p_row jsonb)
returns jsonb
language sql
immutable
as $$
    select pg_catalog.jsonb_object_agg(
        key,
        case pg_catalog.jsonb_typeof(value)
            when 'number' then pg_catalog.to_jsonb(pg_catalog.trim_scale(value::numeric))
            else value
        end
    )
    from pg_catalog.jsonb_each(p_row)
    where key not in ('name', 'role', 'model', 'effective_from')
$$;

comment on function billing_private.config_content(jsonb) is
    'A row of configuration without its key, its numbers in one form, so that two can be compared.';
revoke all on function billing_private.config_content(jsonb) from public;
