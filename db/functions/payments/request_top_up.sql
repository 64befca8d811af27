-- Each fall below the threshold has a number, and one charge: while one is under way there is no other. A row of nulls
-- is the answer when nothing is to be charged.
-- Locks:  the account row, the top-up, until commit.
-- Raises: UC400 invalid_request, UC404 account_not_found, UC409 not_migrated.
create or replace function billing.request_top_up(p_user_id uuid)
returns billing.purchase
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_account  billing.credit_accounts := billing_private.lock_account(p_user_id);
    v_now      timestamptz := greatest(billing_private.clock(), v_account.updated_at);
    v_top_up   billing.billing_auto_top_ups;
    v_purchase billing.credit_purchases;
begin
    select * into v_top_up from billing.billing_auto_top_ups where user_id = p_user_id for no key update;
    if not billing_private.top_up_is_due(billing_private.settled_account(v_account, v_now), v_top_up, v_now) then
        return null;
    end if;
    v_purchase := billing_private.new_purchase(p_user_id, 'auto_top_up', null, v_top_up.package, v_now);
    v_purchase.crossing_no := v_top_up.crossing_no + 1;
    insert into billing.credit_purchases select v_purchase.*;
    update billing.billing_auto_top_ups
    set crossing_no = v_purchase.crossing_no, updated_at = v_now
    where user_id = p_user_id;
    perform billing_private.queue_stripe_call(
        p_user_id, 'top_up', v_purchase.purchase_id::text,
        jsonb_build_object(
            'purchase_id', v_purchase.purchase_id, 'amount_cents', v_purchase.price_cents,
            'payment_method', v_top_up.payment_method_id
        ),
        v_now
    );
    return billing_private.as_purchase(v_purchase, false);
end
$$;

comment on function billing.request_top_up(uuid) is
    'Records the charge of an automatic top-up, if one is due, before Stripe is asked.';
revoke all on function billing.request_top_up(uuid) from public;
grant execute on function billing.request_top_up(uuid) to billing_api;
