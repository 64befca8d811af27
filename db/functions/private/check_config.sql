-- Raises: UC409 config_edited_in_database, config_in_use, UC422 invalid_config.
create or replace function billing_private.check_config(p_desired jsonb, p_force boolean)
returns void
language plpgsql
as $$
declare
    v_names text;
    v_tier  text;
begin
    select string_agg(d.section || ' ' || d.name, ', ') into v_names
    from billing.diff_config(p_desired) d
    where d.edited;
    if v_names is not null and p_force is not true then
        perform billing_private.raise_error(
            'config_edited_in_database', format('Edited since the last apply: %s.', v_names)
        );
    end if;
    for v_tier in
        select d.name from billing.diff_config(p_desired) d where d.section = 'tiers' and d.change = 'remove'
    loop
        perform from billing.credit_accounts where tier = v_tier limit 1;
        if found then
            perform billing_private.raise_error('config_in_use', format('Accounts are on tier %s.', v_tier));
        end if;
    end loop;
end
$$;

comment on function billing_private.check_config(jsonb, boolean) is
    'Raises when applying would overwrite an edit, or take a tier from under an account.';
revoke all on function billing_private.check_config(jsonb, boolean) from public;
