-- Whoever records a call performs it; the worker takes it over half a minute later. A reading call that nobody has
-- claimed yet will see what there is to see, so one is enough; another kind has one pending call for its subject.
create or replace function billing_private.queue_stripe_call(
    p_user_id    uuid,
    p_kind       text,
    p_subject_id text,
    p_request    jsonb,
    p_now        timestamptz
)
returns uuid
language plpgsql
as $$
declare
    v_call_id uuid := billing_private.pending_call(p_kind, p_subject_id);
    v_due_at  timestamptz := p_now + interval '30 seconds';
begin
    if v_call_id is null then
        v_call_id := billing_private.time_ordered_id(p_now);
        insert into billing.stripe_calls (call_id, user_id, kind, subject_id, request, next_attempt_at, created_at)
        values (v_call_id, p_user_id, p_kind, p_subject_id, p_request, v_due_at, p_now)
        on conflict do nothing;
        if not found then
            v_call_id := billing_private.pending_call(p_kind, p_subject_id);
        end if;
    end if;
    return v_call_id;
end
$$;

comment on function billing_private.queue_stripe_call(uuid, text, text, jsonb, timestamptz) is
    'Records something to do at Stripe, unless it waits already; returns its call_id.';
revoke all on function billing_private.queue_stripe_call(uuid, text, text, jsonb, timestamptz) from public;
