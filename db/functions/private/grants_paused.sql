create or replace function billing_private.grants_paused(p_user_id uuid)
returns boolean
language plpgsql
stable
as $$
begin
    return (select paused from billing_private.subscription_standing(p_user_id));
end
$$;

comment on function billing_private.grants_paused(uuid) is
    'Whether a user''s tier grants wait for a payment that is overdue.';
revoke all on function billing_private.grants_paused(uuid) from public;
