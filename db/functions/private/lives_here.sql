create or replace function billing_private.lives_here(p_user_id uuid)
returns boolean
language plpgsql
stable
as $$
begin
    return exists (select from billing.credit_accounts where user_id = p_user_id)
        and not billing_private.is_rolled_back(p_user_id);
end
$$;

comment on function billing_private.lives_here(uuid) is
    'Whether a user''s credits are those of the account; otherwise the old system''s.';
revoke all on function billing_private.lives_here(uuid) from public;
