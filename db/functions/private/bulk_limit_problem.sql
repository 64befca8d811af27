-- What authorize_admin would say, without its lock, when p_left is left of the daily total.
create or replace function billing_private.bulk_limit_problem(
    p_actor   uuid,
    p_admin   billing.admin,
    p_user_id uuid,
    p_amount  numeric,
    p_left    numeric
)
returns text
language plpgsql
immutable
as $$
begin
    return case
        when (p_amount <= p_admin.max_credit_adjustment and p_amount <= p_left) is not true
            then 'admin_limit_exceeded'
        when p_amount > p_admin.approval_above or p_actor = p_user_id then 'approval_required'
    end;
end
$$;

comment on function billing_private.bulk_limit_problem(uuid, billing.admin, uuid, numeric, numeric) is
    'Why an admin''s limits would refuse a grant; null when they would not.';
revoke all on function billing_private.bulk_limit_problem(uuid, billing.admin, uuid, numeric, numeric) from public;
