create or replace function billing_private.queue_metrics(p_now timestamptz)
returns setof billing.metric
language sql
stable
as $$
    with queues as (
        -- Each half has an index of its own.
        select 'stripe_events' as queue, p.waiting, f.given_up, p.oldest
        from (
            select count(*) as waiting, min(received_at) as oldest from billing.stripe_events where status = 'pending'
        ) p
        cross join (select count(*) as given_up from billing.stripe_events where status = 'failed') f
        union all
        select 'stripe_calls', count(*), 0, min(created_at) from billing.stripe_calls where status = 'pending'
        union all
        select
            'events', count(*) filter (where status = 'pending'), count(*) filter (where status = 'dead'),
            min(pending_since) filter (where status = 'pending')
        from billing.billing_events
        where status in ('pending', 'dead')
        union all
        select 'refunds', count(*), 0, min(updated_at)
        from billing.credit_refunds
        where mode <> 'credits' and status in ('requested', 'requires_action', 'pending')
    )
    select m.name, jsonb_build_object('queue', q.queue), m.value
    from queues q
    cross join lateral (
        values ('billing_queue_waiting', q.waiting::numeric), ('billing_queue_given_up', q.given_up::numeric),
            ('billing_queue_oldest_seconds', coalesce(greatest(extract(epoch from p_now - q.oldest), 0), 0))
    ) m (name, value)
$$;

comment on function billing_private.queue_metrics(timestamptz) is 'Metrics of what waits.';
revoke all on function billing_private.queue_metrics(timestamptz) from public;
