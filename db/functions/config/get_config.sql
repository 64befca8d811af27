-- For the owner of the database. The result is what diff_config and apply_config take.
create or replace function billing.get_config()
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_temp
as $$
begin
    return (
        select jsonb_object_agg(s.section, coalesce(s.rows, '{}'))
        from (
            select n.section, jsonb_object_agg(r.name, r.content) filter (where r.name is not null) as rows
            from unnest(array['tiers', 'admin_limits', 'model_prices', 'packages', 'settings']) n (section)
            left join billing_private.config_rows() r on r.section = n.section
            group by n.section
        ) s
    );
end
$$;

comment on function billing.get_config() is 'Tiers, admin limits, rate card, packages and settings as one JSON object.';
revoke all on function billing.get_config() from public;
