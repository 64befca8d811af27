-- Under the nil uuid, without an amount: each grant has a row of its own.
create or replace function billing_private.log_bulk_grant(
    p_actor   uuid,
    p_action  text,
    p_bulk_id uuid,
    p_name    text,
    p_reason  text,
    p_outcome text,
    p_details jsonb
)
returns uuid
language plpgsql
as $$
declare
    v_now       timestamptz := billing_private.clock();
    v_action_id uuid := billing_private.time_ordered_id(v_now);
begin
    perform billing_private.log_admin_action(
        v_action_id, v_now, p_actor, '00000000-0000-0000-0000-000000000000', p_action, null, p_reason, p_outcome,
        jsonb_build_object('bulk_id', p_bulk_id, 'name', p_name) || p_details
    );
    return v_action_id;
end
$$;

comment on function billing_private.log_bulk_grant(uuid, text, uuid, text, text, text, jsonb) is
    'Logs what an admin did with a bulk grant as a whole.';
revoke all on function billing_private.log_bulk_grant(uuid, text, uuid, text, text, text, jsonb) from public;
