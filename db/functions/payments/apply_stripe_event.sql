-- In one transaction: what the event means, and that it was applied. An error undoes both: report it to
-- fail_stripe_event. An event that was given up can be applied again by hand.
-- Locks:  the event, then what it changes, the user's migration and account first, until commit.
-- Replay: an event that was applied, or means nothing to us, is returned as it is.
-- Raises: UC400 invalid_request, UC404 event_not_found, purchase_not_found, checkout_not_found, customer_not_found,
--         account_not_found, unknown_tier, UC409 payment_mismatch, not_migrated.
create or replace function billing.apply_stripe_event(p_event_id text)
returns billing.stripe_event
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_event billing.stripe_events;
    v_taken record;
    v_now   timestamptz;
begin
    perform billing_private.read_stripe_event(p_event_id);
    select * into v_event from billing.stripe_events where event_id = p_event_id for no key update;
    if v_event.status not in ('pending', 'failed') then
        return billing_private.as_stripe_event(v_event);
    end if;
    select * into v_taken
    from billing_private.take_in_event(v_event.type, v_event.payload #> '{data,object}', v_event.emitted_at);
    v_now := billing_private.clock();
    update billing.stripe_events
    set status = case when v_taken.ours then 'processed' else 'ignored' end,
        next_attempt_at = null, error = null, processed_at = v_now
    where event_id = p_event_id;
    return billing_private.as_stripe_event(billing_private.read_stripe_event(p_event_id), v_taken.call_id);
end
$$;

comment on function billing.apply_stripe_event(text) is
    'Applies a stored webhook event, once.';
revoke all on function billing.apply_stripe_event(text) from public;
grant execute on function billing.apply_stripe_event(text) to billing_api;
