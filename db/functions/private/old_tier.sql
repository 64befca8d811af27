create or replace function billing_private.old_tier(p_user_id uuid)
returns text
language plpgsql
stable
as $$
begin
    return coalesce((select tier from billing_private.old_subscription(p_user_id) where is_paid), 'free');
end
$$;

comment on function billing_private.old_tier(uuid) is 'The tier that a user pays for in the old system.';
revoke all on function billing_private.old_tier(uuid) from public;
