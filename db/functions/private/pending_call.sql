-- A call that reads and was claimed may have read already: it does not count.
create or replace function billing_private.pending_call(p_kind text, p_subject_id text)
returns uuid
language plpgsql
stable
as $$
begin
    return (
        select call_id
        from billing.stripe_calls
        where kind = p_kind and subject_id = p_subject_id and status = 'pending'
            and (tries = 0 or p_kind not in ('subscriptions', 'payment'))
        order by call_id
        limit 1
    );
end
$$;

comment on function billing_private.pending_call(text, text) is
    'The call to Stripe that a subject waits for; null when there is none.';
revoke all on function billing_private.pending_call(text, text) from public;
