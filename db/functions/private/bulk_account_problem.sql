-- What move_by_admin would say of the account; p_status is null where there is none.
create or replace function billing_private.bulk_account_problem(p_user_id uuid, p_status text)
returns text
language plpgsql
stable
as $$
begin
    return case
        when p_status is null then billing_private.no_account(p_user_id)
        when p_status <> 'closed' then null
        when billing_private.is_rolled_back(p_user_id) then 'not_migrated'
        else 'account_closed'
    end;
end
$$;

comment on function billing_private.bulk_account_problem(uuid, text) is
    'Why a user''s account takes no grant; null when it does.';
revoke all on function billing_private.bulk_account_problem(uuid, text) from public;
