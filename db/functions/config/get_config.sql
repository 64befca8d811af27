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
        select jsonb_object_agg(s.section, s.rows)
        from (
            select r.section, jsonb_object_agg(r.name, r.content) as rows
            from billing_private.config_rows() r
            group by r.section
        ) s
    );
end
$$;

comment on function billing.get_config() is 'Tiers, admin limits, rate card and settings as one JSON object.';
revoke all on function billing.get_config() from public;
