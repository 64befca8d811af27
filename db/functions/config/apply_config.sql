-- For the owner of the database. All of it or nothing; every change is in the admin log under the nil uuid. A tier's
-- changed amount counts from the next period; a changed price from now on; the prices of a removed model are deleted.
-- Locks:  the configuration tables against other writers, until commit.
-- Raises: UC409 config_edited_in_database (unless p_force), config_in_use, UC422 invalid_config.
create or replace function billing.apply_config(
    p_desired jsonb,
    p_force   boolean default false,
    p_actor   uuid default null
)
returns setof billing.config_change
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now    timestamptz;
    v_change billing.config_change;
begin
    lock table billing.billing_tiers, billing.admin_limits, billing.model_prices, billing.billing_packages,
        billing.billing_settings in share row exclusive mode;
    v_now := billing_private.clock();
    set constraints billing.tier_rank_unique deferred;
    perform billing_private.check_config(p_desired, p_force);
    for v_change in select * from billing.diff_config(p_desired) loop
        begin
            perform billing_private.apply_config_change(v_change, v_now);
        exception
            when integrity_constraint_violation then
                perform billing_private.raise_error(
                    'invalid_config', format('%s %s: %s.', v_change.section, v_change.name, sqlerrm)
                );
        end;
        perform billing_private.log_admin_action(
            billing_private.time_ordered_id(v_now), v_now, p_actor, '00000000-0000-0000-0000-000000000000',
            'apply_config', null, format('%s %s %s', v_change.change, v_change.section, v_change.name), 'done',
            jsonb_build_object(
                'before', v_change.before, 'after', v_change.after, 'forced', p_force, 'login', session_user
            )
        );
        return next v_change;
    end loop;
    begin
        set constraints billing.tier_rank_unique immediate;
    exception
        when unique_violation then
            perform billing_private.raise_error('invalid_config', 'Two tiers have the same rank.');
    end;
    delete from billing_private.config_applied;
    insert into billing_private.config_applied (section, name, content, applied_at)
    select r.section, r.name, r.content, v_now from billing_private.config_rows() r;
end
$$;

comment on function billing.apply_config(jsonb, boolean, uuid) is
    'Makes the tables like a wanted configuration; returns what changed.';
revoke all on function billing.apply_config(jsonb, boolean, uuid) from public;
