-- Locks:  the user's migration, then the account row, until commit.
-- Replay: an account that is open already is returned as it is; its tier does not change.
-- Raises: UC400 invalid_request, UC404 unknown_tier, UC409 not_migrated.
create or replace function billing.open_account(
    p_user_id uuid,
    p_tier    text default 'free'
)
returns billing.account
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now     timestamptz := billing_private.clock();
    v_account billing.credit_accounts;
begin
    if p_user_id is null then
        perform billing_private.raise_error('invalid_request', 'p_user_id must be given.');
    elsif p_user_id = '00000000-0000-0000-0000-000000000000' then
        -- It stands for the configuration in the admin log, and for the beginning where accounts are gone through.
        perform billing_private.raise_error('invalid_request', 'p_user_id must not be the nil uuid.');
    elsif not exists (select from billing.billing_tiers where name = p_tier) then
        perform billing_private.raise_error('unknown_tier', format('There is no tier %L.', p_tier));
    end if;
    perform billing_private.check_may_open(p_user_id);
    insert into billing.credit_accounts (user_id, tier, created_at, updated_at)
    values (p_user_id, p_tier, v_now, v_now)
    on conflict (user_id) do nothing
    returning * into v_account;
    if found then
        v_account := billing_private.catch_up_grants(v_account, v_now);
    else
        v_account := billing_private.read_account(p_user_id);
    end if;
    return billing_private.as_account(billing_private.settled_account(v_account, v_now));
end
$$;

comment on function billing.open_account(uuid, text) is
    'Opens the account of a user, with the first grant of its tier; returns the account if it is open already.';
revoke all on function billing.open_account(uuid, text) from public;
grant execute on function billing.open_account(uuid, text) to billing_api;
