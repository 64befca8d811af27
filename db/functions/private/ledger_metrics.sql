create or replace function billing_private.ledger_metrics(p_now timestamptz)
returns setof billing.metric
language sql
stable
as $$
    with recent as materialized (
        select
            type::text as type, count(*) as entries, sum(amount) as amount,
            count(*) filter (where type = 'usage' and amount = 0) as refused
        from billing.credit_ledger
        where created_at > p_now - interval '5 minutes'
        group by type
    )
    select m.name, jsonb_build_object('type', t.type), coalesce(m.value, 0)
    from unnest(array[
        'usage', 'tier_grant', 'purchase', 'adjustment', 'refund', 'reversal', 'expiry', 'clawback', 'debt_repayment',
        'trial_grant', 'migration', 'rollback'
    ]) t (type)
    left join recent r on r.type = t.type
    cross join lateral (
        values ('billing_ledger_entries_5m', r.entries - r.refused), ('billing_ledger_credits_5m', r.amount)
    ) m (name, value)
    union all
    select 'billing_refused_deductions_5m', '{}', coalesce(sum(refused), 0) from recent
    union all
    select m.name, '{}', m.value
    from (
        select count(*)::numeric as holds, coalesce(sum(amount), 0) as held
        from billing.credit_holds
        where status = 'active'
    ) h
    cross join lateral (values ('billing_active_holds', h.holds), ('billing_held_credits', h.held)) m (name, value)
    union all
    select m.name, '{}', m.value
    from (
        select finished_at, accounts, entries, balance, findings
        from billing.ledger_checkpoints
        order by checkpoint_id desc
        limit 1
    ) c
    cross join lateral (
        values ('billing_checkpoint_age_seconds', extract(epoch from p_now - c.finished_at)),
            ('billing_checkpoint_accounts', c.accounts), ('billing_checkpoint_entries', c.entries),
            ('billing_checkpoint_balance_credits', c.balance), ('billing_checkpoint_findings', c.findings)
    ) m (name, value)
$$;

comment on function billing_private.ledger_metrics(timestamptz) is 'Metrics of the ledger, of holds and of checkpoints.';
revoke all on function billing_private.ledger_metrics(timestamptz) from public;
