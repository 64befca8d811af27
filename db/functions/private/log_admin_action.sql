create or replace function billing_private.log_admin_action(
    p_action_id uuid,
    p_now       timestamptz,
    p_actor     uuid,
    p_target    uuid,
    p_action    text,
    p_amount    numeric,
    p_reason    text,
    p_outcome   text,
    p_details   jsonb
)
returns void
language plpgsql
as $$
begin
    insert into billing.admin_actions_log (
        target_user_id, action_id, admin_user_id, action, amount, reason, details, outcome, created_at
    )
    values (
        p_target, p_action_id, p_actor, p_action, p_amount, p_reason, (
            select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(p_details) where value <> 'null'
        ), p_outcome, p_now
    );
end
$$;

comment on function billing_private.log_admin_action is 'Records what an admin did or was refused.';
revoke all on function billing_private.log_admin_action from public;
