-- The newest event of a user stays, whatever its age: it keeps the count. What is not delivered stays as well.
create or replace function billing_private.clean_up_events(p_before timestamptz, p_limit integer, p_after jsonb)
returns billing.job_step
language plpgsql
as $$
declare
    v_step billing.job_step := (0, 0, null, null)::billing.job_step;
    v_ids  uuid[];
    v_time timestamptz;
begin
    select array_agg(p.event_id order by p.created_at, p.event_id), max(p.created_at) into v_ids, v_time
    from (
        select event_id, created_at
        from billing.billing_events
        where created_at < p_before
            and (created_at, event_id) > (
                coalesce((p_after ->> 'created_at')::timestamptz, '-infinity'),
                coalesce((p_after ->> 'event_id')::uuid, '00000000-0000-0000-0000-000000000000')
            )
        order by created_at, event_id
        limit p_limit
    ) p;
    delete from billing.billing_events e
    where e.event_id = any (v_ids)
        and e.created_at >= coalesce((p_after ->> 'created_at')::timestamptz, '-infinity')
        and e.created_at <= v_time
        and e.status in ('delivered', 'kept')
        and exists (
            select from billing.billing_events n where n.user_id = e.user_id and n.event_no > e.event_no
        );
    get diagnostics v_step.rows = row_count;
    if cardinality(v_ids) = p_limit then
        v_step.next := jsonb_build_object('created_at', v_time, 'event_id', v_ids[p_limit]);
    end if;
    return v_step;
end
$$;

comment on function billing_private.clean_up_events(timestamptz, integer, jsonb) is
    'Deletes a page of events that are over; returns what was done.';
revoke all on function billing_private.clean_up_events(timestamptz, integer, jsonb) from public;
