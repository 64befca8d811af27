-- One row of what read_config shows: p_before is how the admin saw it, null to add it; p_after null removes it. It
-- counts as apply_config's changes do, and as edited in the database until the file has it too.
-- Locks:   the configuration tables against other writers, then the admin's row, until commit.
-- Replay:  the same key, admin and change returns the first result with replayed = true; a refusal binds no key.
-- Answers: not_a_super_admin: success = false, and it is logged, under the nil uuid.
-- Raises:  UC400 invalid_request, UC409 config_changed, config_in_use, idempotency_key_reused, UC422 invalid_config,
--          reason_required.
create or replace function billing.change_config(
    p_actor           uuid,
    p_section         text,
    p_name            text,
    p_before          jsonb,
    p_after           jsonb,
    p_reason          text,
    p_idempotency_key text default null
)
returns billing.admin_result
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_nobody  constant uuid := '00000000-0000-0000-0000-000000000000'::uuid;
    v_change  billing.config_change;
    v_details jsonb;
    v_now     timestamptz;
    v_role    text;
    v_result  billing.admin_result;
begin
    perform billing_private.check_admin_request(p_actor, p_reason);
    perform billing_private.check_texts(p_idempotency_key => p_idempotency_key);
    lock table billing.billing_tiers, billing.admin_limits, billing.model_prices, billing.billing_packages,
        billing.billing_settings in share row exclusive mode;
    v_now := billing_private.clock();
    v_change := billing_private.wanted_change(p_section, p_name, p_before, p_after);
    v_details := jsonb_build_object('section', p_section, 'name', p_name, 'change', v_change.change)
        || case when v_change.before is not null then jsonb_build_object('before', v_change.before) else '{}' end
        || case when v_change.after is not null then jsonb_build_object('after', v_change.after) else '{}' end;
    v_result := billing_private.replay_action('change_config', p_actor, v_nobody, p_idempotency_key, v_details);
    if v_result.replayed then
        return v_result;
    end if;
    -- A role that is being taken away at this moment is waited for.
    select role into v_role from billing.user_roles where user_id = p_actor for share;
    v_result := (
        coalesce(v_role = 'super_admin', false), null, null, 0, null, billing_private.time_ordered_id(v_now), false
    )::billing.admin_result;
    if v_result.success then
        perform billing_private.check_change(v_change);
        begin
            perform billing_private.apply_config_change(v_change, v_now);
        exception
            when foreign_key_violation then
                perform billing_private.raise_error('config_in_use', format('%s %s: %s.', p_section, p_name, sqlerrm));
            when integrity_constraint_violation then
                perform billing_private.raise_error('invalid_config', format('%s %s: %s.', p_section, p_name, sqlerrm));
        end;
    else
        v_result.reason := 'not_a_super_admin';
    end if;
    perform billing_private.log_admin_action(
        v_result.action_id, v_now, p_actor, v_nobody, 'change_config', null, p_reason,
        coalesce(v_result.reason, 'done'), v_details || jsonb_build_object('idempotency_key', p_idempotency_key)
    );
    return v_result;
end
$$;

comment on function billing.change_config(uuid, text, text, jsonb, jsonb, text, text) is
    'Changes, adds or removes a tier, an admin''s limits, a price, a package or the settings, and logs it.';
revoke all on function billing.change_config(uuid, text, text, jsonb, jsonb, text, text) from public;
grant execute on function billing.change_config(uuid, text, text, jsonb, jsonb, text, text) to billing_api;
