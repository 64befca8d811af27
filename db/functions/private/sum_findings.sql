create or replace function billing_private.sum_findings(p_account billing.credit_accounts)
returns setof billing.finding
language plpgsql
stable
as $$
begin
    return query
        with
        burned as (
            select grant_no, sum(to_used - from_used) as amount
            from billing.credit_burns
            where user_id = p_account.user_id
            group by grant_no
        ),
        taken as (
            select grant_no, -sum(amount) as amount
            from billing.credit_ledger
            where user_id = p_account.user_id and grant_no is not null and type <> 'usage'
            group by grant_no
        ),
        lots as (
            select
                l.grant_no, l.entry_no, l.amount, l.remaining,
                l.amount - coalesce(burned.amount, 0) - coalesce(taken.amount, 0) as expected
            from billing.credit_grants l
            left join burned on burned.grant_no = l.grant_no
            left join taken on taken.grant_no = l.grant_no
            where l.user_id = p_account.user_id
        ),
        axis as (
            select from_used, to_used, lag(to_used, 1, 0::numeric) over (order by to_used) as previous
            from billing.credit_burns
            where user_id = p_account.user_id
        )
        select p_account.user_id, lots.entry_no, 'lot_off', format(
            'Lot %s has %s left; its burns and entries leave %s.', lots.grant_no, lots.remaining, lots.expected
        )
        from lots
        where lots.remaining <> lots.expected
        union all
        select p_account.user_id, e.entry_no, 'lots_of_entry_off', format(
            'The entry brought %s; its lots are %s.', e.amount, coalesce(sum(l.amount), 0)
        )
        from billing.credit_ledger e
        left join billing.credit_grants l on l.user_id = e.user_id and l.entry_no = e.entry_no
        where e.user_id = p_account.user_id and e.amount > 0 and e.type <> 'usage'
        group by e.entry_no, e.amount
        having e.amount <> coalesce(sum(l.amount), 0)
        union all
        select p_account.user_id, null, 'balance_off', format(
            'Balance %s; lots hold %s less %s not settled.', p_account.balance, sum(lots.remaining),
            p_account.used_total - p_account.settled_total
        )
        from lots
        having coalesce(sum(lots.remaining), 0) - (p_account.used_total - p_account.settled_total) <> p_account.balance
        union all
        select p_account.user_id, null, 'burns_off', format('The burns end at %s and are to reach %s, without a gap.',
            max(axis.to_used), p_account.settled_total)
        from axis
        having coalesce(max(axis.to_used), 0) <> p_account.settled_total
            or bool_or(axis.from_used <> axis.previous)
        union all
        select p_account.user_id, null, 'held_off', format(
            'Held %s; active holds are %s.', p_account.held, coalesce(sum(h.amount), 0)
        )
        from billing.credit_holds h
        where h.user_id = p_account.user_id and h.status = 'active'
        having coalesce(sum(h.amount), 0) <> p_account.held;
end
$$;

comment on function billing_private.sum_findings(billing.credit_accounts) is
    'What does not add up in the lots, burns and holds of an account.';
revoke all on function billing_private.sum_findings(billing.credit_accounts) from public;
