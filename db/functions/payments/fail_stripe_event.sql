-- Tried again with growing pauses, for more than three hours; then it is given up, and stays visible as failed.
-- Raises: UC404 event_not_found.
create or replace function billing.fail_stripe_event(p_event_id text, p_error text)
returns billing.stripe_event
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_now timestamptz := billing_private.clock();
begin
    update billing.stripe_events
    set attempts = attempts + 1,
        error = left(p_error, 2000),
        status = case when attempts >= 11 then 'failed' else 'pending' end,
        next_attempt_at = case
            when attempts < 11 then v_now + least(interval '10 seconds' * (1 << attempts), interval '1 hour')
        end
    where event_id = p_event_id and status = 'pending';
    return billing_private.as_stripe_event(billing_private.read_stripe_event(p_event_id));
end
$$;

comment on function billing.fail_stripe_event(text, text) is
    'Notes that applying an event failed, and when it is tried again.';
revoke all on function billing.fail_stripe_event(text, text) from public;
grant execute on function billing.fail_stripe_event(text, text) to billing_api;
