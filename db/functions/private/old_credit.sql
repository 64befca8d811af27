create or replace function billing_private.old_credit(p_user_id uuid)
returns numeric
language plpgsql
stable
as $$
begin
    return (
        select coalesce(max(bought_credit), 0)
        from legacy_billing.legacy_customers
        where user_id = p_user_id
    );
end
$$;

comment on function billing_private.old_credit(uuid) is 'What is left of a user''s bought credit in the old system.';
revoke all on function billing_private.old_credit(uuid) from public;
