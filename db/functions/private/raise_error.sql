-- The one place that gives an error its SQLSTATE and its remedy; db/errors.md lists them all.
create or replace function billing_private.raise_error(p_name text, p_detail text)
returns void
language plpgsql
as $$
declare
    v_class text;
    v_hint  text;
begin
    case p_name
        when 'invalid_request' then
            v_class := '400';
            v_hint := 'Correct the argument that the detail names.';
        when 'not_an_admin' then
            v_class := '403';
            v_hint := 'This is for admins: billing.list_admins() shows who is one.';
        when 'purchase_not_allowed' then
            v_class := '403';
            v_hint := 'Only a tier with can_purchase_credits buys credits, and only an active account.';
        when 'account_not_found' then
            v_class := '404';
            v_hint := 'Open the account first: billing.open_account(user_id).';
        when 'approval_not_found' then
            v_class := '404';
            v_hint := 'billing.list_approvals() shows the requests.';
        when 'bulk_grant_not_found' then
            v_class := '404';
            v_hint := 'billing.list_bulk_grants() shows the bulk grants.';
        when 'call_not_found' then
            v_class := '404';
            v_hint := 'billing.list_due_stripe_calls() shows the calls that wait.';
        when 'checkout_not_found' then
            v_class := '404';
            v_hint := 'Start again: billing.request_checkout.';
        when 'customer_not_found' then
            v_class := '404';
            v_hint := 'The customer is none of ours: look at its metadata at Stripe.';
        when 'entry_not_found' then
            v_class := '404';
            v_hint := 'billing.list_entries(user_id) shows the entries of the account.';
        when 'event_not_found' then
            v_class := '404';
            v_hint := 'billing.list_stripe_events() shows what Stripe told, billing.list_events() what we tell.';
        when 'hold_not_found' then
            v_class := '404';
            v_hint := 'billing.list_holds(user_id, false) shows the holds of the account.';
        when 'job_not_found' then
            v_class := '404';
            v_hint := 'billing.list_jobs() shows the jobs.';
        when 'purchase_not_found' then
            v_class := '404';
            v_hint := 'billing.list_purchases(user_id) shows the purchases of the user.';
        when 'refund_not_found' then
            v_class := '404';
            v_hint := 'billing.list_refunds() shows the refunds.';
        when 'subscription_not_found' then
            v_class := '404';
            v_hint := 'billing.get_subscription(user_id) shows the subscription of the user.';
        when 'unknown_model' then
            v_class := '404';
            v_hint := 'Add the model to the rate card, or name one of billing.list_model_prices().';
        when 'unknown_package' then
            v_class := '404';
            v_hint := 'Name one of billing.list_packages(), or give an amount.';
        when 'unknown_tier' then
            v_class := '404';
            v_hint := 'Name one of billing.list_tiers().';
        when 'already_migrated' then
            v_class := '409';
            v_hint := 'Go to the account: billing.deduct_tokens(user_id, …), or billing.rollback_users first.';
        when 'not_migrated' then
            v_class := '409';
            v_hint := 'Go to the old system, or migrate the user first: billing.migrate_users(array[user_id]).';
        when 'account_closed' then
            v_class := '409';
            v_hint := 'Set the account''s status to active before credits move.';
        when 'already_reversed' then
            v_class := '409';
            v_hint := 'An entry can be reversed once; adjust the account if that was not enough.';
        when 'approval_not_open' then
            v_class := '409';
            v_hint := 'It is decided, or waited too long: ask again with billing.request_approval.';
        when 'change_pending' then
            v_class := '409';
            v_hint := 'Wait until the change before is done, or take it back.';
        when 'config_changed' then
            v_class := '409';
            v_hint := 'Somebody else has changed it: look at it again, billing.read_config(actor).';
        when 'config_edited_in_database' then
            v_class := '409';
            v_hint := 'Pull the edits into the file first, or force the apply.';
        when 'config_in_use' then
            v_class := '409';
            v_hint := 'Move the accounts to another tier, or the top-ups to another package, first.';
        when 'hold_not_active' then
            v_class := '409';
            v_hint := 'One capture ends a hold; deduct what is still owed.';
        when 'idempotency_key_reused' then
            v_class := '409';
            v_hint := 'Retry with the same values, or use a new key for a new request.';
        when 'payment_mismatch' then
            v_class := '409';
            v_hint := 'Compare the record with Stripe''s; nothing was booked.';
        when 'request_changed' then
            v_class := '409';
            v_hint := 'It is no more what was asked for: decline it, and ask again with billing.request_approval.';
        when 'subscription_exists' then
            v_class := '409';
            v_hint := 'Change the subscription that there is: billing.request_subscription_change.';
        when 'super_admin_exists' then
            v_class := '409';
            v_hint := 'Ask a super admin: billing.set_user_role(actor, user_id, ''super_admin'').';
        when 'amount_not_positive' then
            v_class := '422';
            v_hint := 'Give an amount greater than zero.';
        when 'amount_not_whole_cents' then
            v_class := '422';
            v_hint := 'Money has two decimal places: give whole cents.';
        when 'amount_out_of_range' then
            v_class := '422';
            v_hint := 'Stay within the limits that the detail names.';
        when 'amount_too_large' then
            v_class := '422';
            v_hint := 'An amount is at most 1000000000000 credits, a balance at most 1000000000000000.';
        when 'amount_too_precise' then
            v_class := '422';
            v_hint := 'Give at most 9 decimal places.';
        when 'amount_zero' then
            v_class := '422';
            v_hint := 'Give a positive amount to add credits, a negative one to take them.';
        when 'entry_not_reversible' then
            v_class := '422';
            v_hint := 'Only usage and negative adjustments can be reversed.';
        when 'expiry_not_ahead' then
            v_class := '422';
            v_hint := 'Give a time that lies ahead, or null for credits that do not expire.';
        when 'expires_in_out_of_range' then
            v_class := '422';
            v_hint := 'Hold credits for more than nothing and at most 30 days.';
        when 'invalid_rows' then
            v_class := '422';
            v_hint := 'Correct the rows; billing.plan_bulk_grant() names what is wrong with each.';
        when 'invalid_schedule' then
            v_class := '422';
            v_hint := 'Give five fields as in a crontab, ''0 0 1 * *'', and more than no time until it is late.';
        when 'invalid_tokens' then
            v_class := '422';
            v_hint := 'Token counts are 0 to 1000000000000, and cached tokens are a part of the prompt tokens.';
        when 'limit_out_of_range' then
            v_class := '422';
            v_hint := 'Ask for 1 to 500 rows, and page on from the last one.';
        when 'reason_required' then
            v_class := '422';
            v_hint := 'Say in a few words why; it is kept in the admin log.';
        when 'tier_not_for_sale' then
            v_class := '422';
            v_hint := 'Name a tier with a price, one of billing.list_tiers().';
        when 'time_lies_ahead' then
            v_class := '422';
            v_hint := 'A job does what is due by now or by a time before: leave p_at out.';
        when 'too_many_rows' then
            v_class := '422';
            v_hint := 'Give at most 10000 rows at once; the same name takes more files.';
        when 'unknown_interval' then
            v_class := '422';
            v_hint := 'Name month or year.';
        when 'unknown_role' then
            v_class := '422';
            v_hint := 'Name user, admin or super_admin.';
        when 'unknown_source' then
            v_class := '422';
            v_hint := 'Name trial_grant, promotion, adjustment or refund.';
        when 'unknown_status' then
            v_class := '422';
            v_hint := 'Name one of those that the detail names.';
        when 'invalid_config' then
            v_class := '422';
            v_hint := 'Correct the row that the detail names; nothing was applied.';
    end case;
    raise exception using
        errcode = 'UC' || v_class,
        message = p_name,
        detail = p_detail,
        hint = v_hint;
end
$$;

comment on function billing_private.raise_error(text, text) is 'Raises an error of the catalogue by its name.';
revoke all on function billing_private.raise_error(text, text) from public;
