-- What Stripe tells of a user who was moved back is taken in here, and what it brings goes where the user is. The
-- caller has locked the user's migration and the account.
create or replace function billing_private.forward_to_old_system(
    p_user_id         uuid,
    p_subscription_id text default null
)
returns void
language plpgsql
as $$
declare
    v_account billing.credit_accounts;
    v_now     timestamptz;
    v_left    billing_private.left_over;
begin
    if billing_private.is_rolled_back(p_user_id) then
        v_account := billing_private.lock_account(p_user_id, true);
        v_now := greatest(billing_private.clock(), v_account.updated_at);
        v_account := billing_private.settle_account(v_account, v_now);
        v_left := billing_private.hand_over(v_account, v_now);
        perform billing_private.hand_over_customer(
            p_user_id, billing_private.old_credit(p_user_id) + v_left.credit + v_left.allowance,
            coalesce(p_subscription_id, '')
        );
        perform billing_private.hand_over_purchases(p_user_id);
    end if;
end
$$;

comment on function billing_private.forward_to_old_system(uuid, text) is
    'Hands to the old system what Stripe has told of a user who was moved back to it.';
revoke all on function billing_private.forward_to_old_system(uuid, text) from public;
