create or replace function billing_private.config_with(p_section text, p_name text, p_content jsonb)
returns jsonb
language plpgsql
stable
as $$
begin
    return case
        when p_content is null then billing.get_config() #- array[p_section, p_name]
        else jsonb_set(billing.get_config(), array[p_section, p_name], p_content)
    end;
end
$$;

comment on function billing_private.config_with(text, text, jsonb) is
    'The configuration in the tables, but for one row; null: without it.';
revoke all on function billing_private.config_with(text, text, jsonb) from public;
