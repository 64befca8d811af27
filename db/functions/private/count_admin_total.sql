create or replace function billing_private.count_admin_total(p_actor uuid, p_amount numeric, p_now timestamptz)
returns void
language plpgsql
as $$
declare
    v_today date := (p_now at time zone 'UTC')::date;
begin
    update billing.user_roles
    set day = greatest(day, v_today),
        day_total = p_amount + case when day >= v_today then day_total else 0 end
    where user_id = p_actor;
end
$$;

comment on function billing_private.count_admin_total(uuid, numeric, timestamptz) is
    'Adds an absolute amount to what the admin moved on this UTC day.';
revoke all on function billing_private.count_admin_total(uuid, numeric, timestamptz) from public;
