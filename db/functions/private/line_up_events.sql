-- Of the events of a user that are pending, the oldest is tried, and the others wait for it. The caller holds the lock of
-- the account.
create or replace function billing_private.line_up_events(p_user_id uuid, p_now timestamptz)
returns void
language plpgsql
as $$
declare
    v_first bigint := (
        select min(event_no) from billing.billing_events where user_id = p_user_id and status = 'pending'
    );
begin
    update billing.billing_events
    set next_attempt_at = case when event_no = v_first then p_now end
    where user_id = p_user_id
        and status = 'pending'
        and (event_no = v_first) <> (next_attempt_at is not null);
    if found then
        perform pg_notify('billing_events', '');
    end if;
end
$$;

comment on function billing_private.line_up_events(uuid, timestamptz) is
    'Makes the oldest pending event of a user the one that is tried.';
revoke all on function billing_private.line_up_events(uuid, timestamptz) from public;
