-- The caller holds the lock of the bulk grant, so that nobody else adds rows or grants them.
create or replace function billing_private.store_bulk_rows(
    p_bulk            billing.bulk_grants,
    p_verdicts        billing.bulk_verdict[],
    p_actor           uuid,
    p_reason          text,
    p_withdraw_others boolean
)
returns billing.bulk_change
language plpgsql
as $$
declare
    v_change billing.bulk_change;
    v_now    timestamptz := billing_private.clock();
begin
    if p_withdraw_others then
        update billing.bulk_grant_rows
        set outcome = 'refused', refusal = 'withdrawn', action_id = null, decided_by = p_actor, decided_at = v_now
        where bulk_id = p_bulk.bulk_id
            and (outcome = 'pending' or (outcome = 'refused' and refusal <> 'withdrawn'))
            and user_id not in (select v.user_id from unnest(p_verdicts) v);
        get diagnostics v_change.withdrawn = row_count;
    end if;
    update billing.bulk_grant_rows r
    set row_no = v.row_no,
        amount = v.amount,
        reason = coalesce(v.reason, p_reason),
        expires_at = v.expires_at,
        outcome = 'pending',
        refusal = null,
        action_id = null,
        decided_by = null,
        decided_at = null
    from unnest(p_verdicts) v
    where r.bulk_id = p_bulk.bulk_id
        and r.user_id = v.user_id
        and r.outcome <> 'granted'
        and (r.outcome, r.row_no, r.amount, r.reason, r.expires_at)
            is distinct from ('pending', v.row_no, v.amount, coalesce(v.reason, p_reason), v.expires_at);
    get diagnostics v_change.changed = row_count;
    insert into billing.bulk_grant_rows (bulk_id, user_id, row_no, amount, reason, expires_at)
    select p_bulk.bulk_id, v.user_id, v.row_no, v.amount, coalesce(v.reason, p_reason), v.expires_at
    from unnest(p_verdicts) v
    on conflict do nothing;
    get diagnostics v_change.added = row_count;
    v_change.success := true;
    v_change.bulk_id := p_bulk.bulk_id;
    v_change.name := p_bulk.name;
    v_change.withdrawn := coalesce(v_change.withdrawn, 0);
    v_change.unchanged := cardinality(p_verdicts) - v_change.changed - v_change.added;
    v_change.granted_otherwise := (select count(*) from unnest(p_verdicts) v where v.problem = 'granted_otherwise');
    v_change.pending := billing_private.bulk_pending(p_bulk.bulk_id);
    return v_change;
end
$$;

comment on function billing_private.store_bulk_rows(
    billing.bulk_grants, billing.bulk_verdict[], uuid, text, boolean
) is 'Lets what a file has wait for the next run, but for what is granted.';
revoke all on function billing_private.store_bulk_rows(
    billing.bulk_grants, billing.bulk_verdict[], uuid, text, boolean
) from public;
