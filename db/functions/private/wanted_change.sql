-- Both rows in the form in which the tables tell theirs, so that they can be compared.
-- Raises: UC400 invalid_request, UC422 invalid_config.
create or replace function billing_private.wanted_change(p_section text, p_name text, p_before jsonb, p_after jsonb)
returns billing.config_change
language plpgsql
stable
as $$
declare
    v_change billing.config_change := (
        p_section, p_name, null, false, nullif(p_before, 'null'), nullif(p_after, 'null')
    );
begin
    if (p_section in ('tiers', 'admin_limits', 'model_prices', 'packages', 'settings')) is not true then
        perform billing_private.raise_error(
            'invalid_request', 'p_section must be tiers, admin_limits, model_prices, packages or settings.'
        );
    elsif p_name is null then
        perform billing_private.raise_error('invalid_request', 'p_name must be given.');
    elsif v_change.before is null and v_change.after is null then
        perform billing_private.raise_error('invalid_request', 'p_before or p_after must be given.');
    elsif jsonb_typeof(v_change.before) <> 'object' or jsonb_typeof(v_change.after) <> 'object' then
        perform billing_private.raise_error('invalid_request', 'p_before and p_after must be JSON objects, or null.');
    end if;
    v_change.change := case
        when v_change.before is null then 'add' when v_change.after is null then 'remove' else 'change'
    end;
    v_change.before := billing_private.config_content(v_change.before);
    v_change.after := (
        select d.content
        from billing_private.desired_config(billing_private.config_with(p_section, p_name, v_change.after)) d
        where d.section = p_section and d.name = p_name
    );
    return v_change;
end
$$;

comment on function billing_private.wanted_change(text, text, jsonb, jsonb) is
    'What an admin wants to change in the configuration, typed by the columns.';
revoke all on function billing_private.wanted_change(text, text, jsonb, jsonb) from public;
