-- What is not given stays as it is; the first time, threshold, package and cap must be given. An empty payment method
-- is the customer's default one. Turning it on again takes back that a refused charge turned it off; the same card is
-- still not charged before retry_after, another one is.
-- Locks:  the account row, until commit.
-- Raises: UC400 invalid_request, UC403 purchase_not_allowed, UC404 account_not_found, unknown_package,
--         UC409 not_migrated, UC422 amount_not_positive, amount_too_precise, amount_too_large, amount_out_of_range.
create or replace function billing.set_auto_top_up(
    p_user_id           uuid,
    p_enabled           boolean,
    p_threshold         numeric default null,
    p_package           text default null,
    p_monthly_cap       numeric default null,
    p_payment_method_id text default null
)
returns billing.auto_top_up
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account billing.credit_accounts := billing_private.lock_account(p_user_id);
    v_now     timestamptz := greatest(billing_private.clock(), v_account.updated_at);
    v_before  billing.billing_auto_top_ups;
    v_after   billing.billing_auto_top_ups;
begin
    -- Here, because the domain of the columns would refuse them without a name.
    perform billing_private.check_amount(amount)
    from unnest(array[p_threshold, p_monthly_cap]) amount
    where amount is not null;
    select * into v_before from billing.billing_auto_top_ups where user_id = p_user_id for no key update;
    v_after := v_before;
    v_after.user_id := p_user_id;
    v_after.enabled := p_enabled;
    v_after.threshold := coalesce(p_threshold, v_before.threshold);
    v_after.package := coalesce(p_package, v_before.package);
    v_after.monthly_cap := coalesce(p_monthly_cap, v_before.monthly_cap);
    v_after.payment_method_id := nullif(coalesce(p_payment_method_id, v_before.payment_method_id), '');
    v_after.failures := coalesce(v_before.failures, 0);
    v_after.crossing_no := coalesce(v_before.crossing_no, 0);
    v_after.updated_at := v_now;
    v_after.disabled_reason := case when not p_enabled then v_before.disabled_reason end;
    -- Nothing to turn off is off.
    if p_enabled is false and v_before.user_id is null and num_nonnulls(p_threshold, p_package, p_monthly_cap) = 0 then
        return billing.get_auto_top_up(p_user_id);
    end if;
    if v_after.payment_method_id is distinct from v_before.payment_method_id then
        v_after.failures := 0;
        v_after.retry_after := null;
    end if;
    perform billing_private.check_top_up(v_account, v_after);
    if not p_enabled then
        perform billing_private.drop_top_ups(p_user_id, 'turned off');
    end if;
    delete from billing.billing_auto_top_ups where user_id = p_user_id;
    insert into billing.billing_auto_top_ups select v_after.*;
    return billing_private.as_auto_top_up(v_after, v_now);
end
$$;

comment on function billing.set_auto_top_up(uuid, boolean, numeric, text, numeric, text) is
    'Turns a user''s automatic top-up on or off, and says when and what it buys.';
revoke all on function billing.set_auto_top_up(uuid, boolean, numeric, text, numeric, text) from public;
grant execute on function billing.set_auto_top_up(uuid, boolean, numeric, text, numeric, text) to billing_api;
