-- For the owner of the database.
-- Raises: UC422 invalid_config.
create or replace function billing.diff_config(p_desired jsonb)
returns setof billing.config_change
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return query
        select
            coalesce(d.section, t.section),
            coalesce(d.name, t.name),
            case when t.name is null then 'add' when d.name is null then 'remove' else 'change' end,
            t.content is distinct from a.content,
            t.content,
            d.content
        from billing_private.config_rows() t
        full join billing_private.desired_config(p_desired) d on d.section = t.section and d.name = t.name
        left join billing_private.config_applied a
            on a.section = coalesce(d.section, t.section) and a.name = coalesce(d.name, t.name)
        where t.content is distinct from d.content
        order by 1, 2;
end
$$;

comment on function billing.diff_config(jsonb) is 'How a wanted configuration differs from the tables.';
revoke all on function billing.diff_config(jsonb) from public;
