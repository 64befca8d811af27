-- Raises: UC409 config_edited_in_database, config_in_use, UC422 invalid_config.
create or replace function billing_private.check_config(p_desired jsonb, p_force boolean)
returns void
language plpgsql
as $$
declare
    v_names  text;
    v_change billing.config_change;
begin
    select string_agg(d.section || ' ' || d.name, ', ') into v_names
    from billing.diff_config(p_desired) d
    where d.edited;
    if v_names is not null and p_force is not true then
        perform billing_private.raise_error(
            'config_edited_in_database', format('Edited since the last apply: %s.', v_names)
        );
    end if;
    for v_change in select * from billing.diff_config(p_desired) d where d.change = 'remove' loop
        perform from billing.credit_accounts where v_change.section = 'tiers' and tier = v_change.name limit 1;
        if found then
            perform billing_private.raise_error('config_in_use', format('Accounts are on tier %s.', v_change.name));
        end if;
        perform from billing.billing_subscriptions
        where v_change.section = 'tiers'
            and v_change.name in (tier, next_tier)
            and status not in ('canceled', 'incomplete_expired')
        limit 1;
        if found then
            perform billing_private.raise_error(
                'config_in_use', format('Subscriptions pay for tier %s.', v_change.name)
            );
        end if;
        perform from billing.billing_auto_top_ups
        where v_change.section = 'packages' and package = v_change.name and enabled
        limit 1;
        if found then
            perform billing_private.raise_error(
                'config_in_use', format('Automatic top-ups buy package %s.', v_change.name)
            );
        end if;
    end loop;
end
$$;

comment on function billing_private.check_config(jsonb, boolean) is
    'Raises when applying would overwrite an edit, or take a tier or a package from under an account.';
revoke all on function billing_private.check_config(jsonb, boolean) from public;
