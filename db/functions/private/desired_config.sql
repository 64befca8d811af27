-- The columns type the values. A row must name each of its columns, and no other.
-- Raises: UC422 invalid_config.
create or replace function billing_private.desired_config(p_desired jsonb)
returns table (section text, name text, content jsonb)
language plpgsql
stable
set intervalstyle = 'postgres'
as $$
declare
    v_row record;
begin
    if (
        jsonb_typeof(p_desired) = 'object'
        and p_desired - array['tiers', 'admin_limits', 'model_prices', 'packages', 'settings'] = '{}'
        and p_desired #> '{tiers,free}' is not null and p_desired #> '{admin_limits,admin}' is not null
        and p_desired #> '{admin_limits,super_admin}' is not null and p_desired #> '{settings,default}' is not null
        and jsonb_typeof(p_desired -> 'model_prices') = 'object' and jsonb_typeof(p_desired -> 'packages') = 'object'
    ) is not true then
        perform billing_private.raise_error(
            'invalid_config',
            'It must have tiers (free among them), admin_limits of both roles, model_prices, packages and settings.'
        );
    end if;
    for v_row in
        select s.key as section, r.key as name, r.value as content
        from jsonb_each(p_desired) s, jsonb_each(s.value) r
    loop
        begin
            section := v_row.section;
            name := v_row.name;
            content := billing_private.config_content(case v_row.section
                when 'tiers' then to_jsonb(jsonb_populate_record(null::billing.billing_tiers, v_row.content))
                when 'admin_limits' then to_jsonb(jsonb_populate_record(null::billing.admin_limits, v_row.content))
                when 'model_prices' then to_jsonb(jsonb_populate_record(null::billing.model_prices, v_row.content))
                when 'packages' then to_jsonb(jsonb_populate_record(null::billing.billing_packages, v_row.content))
                when 'settings' then to_jsonb(jsonb_populate_record(null::billing.billing_settings, v_row.content))
            end);
        exception
            when data_exception then
                perform billing_private.raise_error(
                    'invalid_config', format('%s %s: %s.', v_row.section, v_row.name, sqlerrm)
                );
        end;
        if (select array_agg(k order by k) from jsonb_object_keys(content) k)
            is distinct from (select array_agg(k order by k) from jsonb_object_keys(v_row.content) k)
        then
            perform billing_private.raise_error('invalid_config', format(
                '%s %s must have exactly: %s.', v_row.section, v_row.name,
                (select string_agg(k, ', ' order by k) from jsonb_object_keys(content) k)
            ));
        end if;
        return next;
    end loop;
end
$$;

comment on function billing_private.desired_config(jsonb) is
    'A wanted configuration as rows, typed and compared by column.';
revoke all on function billing_private.desired_config(jsonb) from public;
