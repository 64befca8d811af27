-- In the month of a migration, what the old system gave counts too, and the lots from before are a part of that.
create or replace function billing_private.tier_granted(p_user_id uuid, p_period date)
returns numeric
language plpgsql
stable
as $$
declare
    v_granted  numeric;
    v_entry_no bigint;
begin
    select month_granted, last_entry_no into v_granted, v_entry_no
    from billing.user_migrations
    where user_id = p_user_id and status = 'migrated' and period = p_period;
    return coalesce(v_granted, 0::numeric) + (
        select coalesce(sum(amount), 0)
        from billing.credit_grants
        where user_id = p_user_id
            and source = 'tier_grant'
            and reference_id = to_char(p_period, 'YYYY-MM')
            and entry_no > coalesce(v_entry_no, 0::bigint)
    );
end
$$;

comment on function billing_private.tier_granted(uuid, date) is 'The tier credits of a period that a user was given.';
revoke all on function billing_private.tier_granted(uuid, date) from public;
