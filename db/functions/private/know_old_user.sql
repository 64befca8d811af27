-- The caller has locked the user's migration.
create or replace function billing_private.know_old_user(p_user_id uuid)
returns void
language plpgsql
as $$
begin
    if not billing_private.is_old_user(p_user_id) then
        insert into legacy_billing.legacy_customers (user_id) values (p_user_id);
    end if;
end
$$;

comment on function billing_private.know_old_user(uuid) is 'Makes a stranger a user of the old system.';
revoke all on function billing_private.know_old_user(uuid) from public;
